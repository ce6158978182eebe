// Package models has the networks: [MLP] for vectors, [DiT] for images, [Classifier] and [ConvNet] to judge them,
// [Mixture] whose answers are known, and [Guided], which steers any of them. A network is a [graph.Model]: it has no
// weights of its own, and a [graph.Cell] evaluates it.
//
//	m, w, _, err := models.Load[float32]("flow.safetensors")
//	cell, err := graph.NewCell(m, w)
//	condition, err := models.Lookup(w, []int{3, 3, 7})
//	field, err := graph.NewField(cell, condition)
//
// # Files
//
// [Save] writes a safetensors file whose header says how to build the network, [Load] builds it: keys ebb.model (the
// name of the type), ebb.version, ebb.config (the configuration, as JSON). A file that does not fit in any way is an
// error that lists the differences. Weights have readable names, each listed with its network, and layout (in, out).
// [SaveArtifact] and [LoadArtifact] do the same for what customization finds: a latent, a condition, changes of weights.
//
// # Conditions and classes
//
// The condition of a network is always a vector of numbers. A network made with Classes has beside its own weights the
// table "labels", one vector a class and a last one for no class. The network does not read it: [Lookup] does, and
// [PullLookup] is its transpose. So the same network is given a class, or a condition that was found by optimization,
// or one between two classes. For training, [Labelled] puts the lookup into the network.
package models
