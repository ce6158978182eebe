package models

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/internal/safetensors"
)

func TestArtifactRoundTrip(t *testing.T) {
	spec := smallDiT(t, 5).Spec()
	all := Artifact[float64]{
		Latent: normal[float64](2*48, 1), Condition: normal[float64](3*5, 2),
		Delta: map[string][]float64{"out.bias": normal[float64](8, 3), "blocks.0.qkv.weight": normal[float64](8*24, 4)},
	}
	for _, a := range []Artifact[float64]{all, {Latent: all.Latent}, {Condition: all.Condition}, {Delta: all.Delta}} {
		path := filepath.Join(t.TempDir(), "a.safetensors")
		require.NoError(t, SaveArtifact(path, spec, a, graph.F64, map[string]string{"steps": "20"}))
		got, metadata, err := LoadArtifact[float64](path, spec)
		require.NoError(t, err)
		require.Equal(t, a, got)
		require.Equal(t, map[string]string{"steps": "20"}, metadata)
	}
}

func TestArtifactApply(t *testing.T) {
	m := smallDiT(t, 5)
	w := perturbed(t, m)
	before := w.Clone()
	delta := normal[float64](8, 1)
	require.NoError(t, Artifact[float64]{Delta: map[string][]float64{"out.bias": delta}}.Apply(w))
	for i, v := range w.Data("out.bias") {
		require.Equal(t, before.Data("out.bias")[i]+delta[i], v)
	}
	require.Equal(t, before.Data("out.weight"), w.Data("out.weight"))

	version := w.Version()
	require.ErrorContains(t, Artifact[float64]{Delta: map[string][]float64{"out.bias": delta, "other": delta}}.Apply(w), `weight "other" of 8 elements; the weight has 0`)
	require.NoError(t, Artifact[float64]{Latent: delta}.Apply(w))
	require.Equal(t, version, w.Version(), "nothing was written")
}

func TestArtifactErrors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.safetensors")
	m := smallDiT(t, 5)
	spec := m.Spec()
	v := normal[float64](48, 1)
	for want, a := range map[string]Artifact[float64]{
		"has no part":               {},
		"the latent has 47":         {Latent: v[:47]},
		"the condition has 4":       {Condition: v[:4]},
		`no weight "nothing"`:       {Delta: map[string][]float64{"nothing": v}},
		`"out.bias" has 3 elements`: {Delta: map[string][]float64{"out.bias": v[:3]}},
	} {
		require.ErrorContains(t, SaveArtifact(path, spec, a, graph.F32, nil), want)
	}
	require.ErrorContains(t, SaveArtifact(path, smallDiT(t, 0).Spec(), Artifact[float64]{Condition: v}, graph.F32, nil), `no input "condition"`)
	require.ErrorContains(t, SaveArtifact(path, spec, Artifact[float64]{Latent: v}, graph.F32, map[string]string{"ebb.artifact": "9"}), "are taken")

	_, _, err := LoadArtifact[float32](path, spec)
	require.ErrorContains(t, err, "no such file")
	require.NoError(t, Save(path, m, perturbed(t, m), graph.F32, nil))
	_, _, err = LoadArtifact[float32](path, spec)
	require.ErrorContains(t, err, "this is a network (DiT), not an artifact; Load reads it")
	tensors := []safetensors.Tensor{
		{Name: "latent", Dtype: graph.F32, Shape: []int{4}, Float32: make([]float32, 4)},
		{Name: "condition", Dtype: graph.F32, Shape: []int{1, 4}, Float32: make([]float32, 4)},
		{Name: "out.bias", Dtype: graph.F32, Shape: []int{4}, Float32: make([]float32, 4)},
		{Name: "nothing", Dtype: graph.F32, Shape: []int{4}, Float32: make([]float32, 4)},
	}
	for i, want := range []string{`"latent" is [4], samples of [2 4 6] are needed`, `"condition" is [1 4], samples of [5]`, `"out.bias" is [4] there and [8] here`, `no weight "nothing"`} {
		require.NoError(t, safetensors.WriteFile(path, map[string]string{"ebb.artifact": "1"}, tensors[i:i+1]))
		_, _, err = LoadArtifact[float32](path, spec)
		require.ErrorIs(t, err, ErrOtherNetwork)
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "do not fit")
	}
	for version, want := range map[string]string{
		"1": `it is for another network: "condition" is [1 4], samples of [5] are needed; 4 tensors do not fit`,
		"2": `ebb.artifact is "2"`,
		"":  `no "ebb.artifact"`,
	} {
		require.NoError(t, safetensors.WriteFile(path, map[string]string{"ebb.artifact": version}, tensors))
		_, _, err = LoadArtifact[float32](path, spec)
		require.ErrorContains(t, err, want)
	}
	_, _, err = LoadArtifact[float32](path, smallDiT(t, 0).Spec())
	require.Error(t, err)
}
