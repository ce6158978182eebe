package models

import (
	"encoding/json"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/internal/safetensors"
	"github.com/ebb-go/ebb/ode"
)

func TestSaveLoad(t *testing.T) {
	for name, m := range everyModel(t) {
		for dtype, relative := range map[graph.Dtype]float64{graph.F64: 0, graph.F32: 0x1p-24, graph.F16: 0x1p-11, graph.BF16: 0x1p-8} {
			w := perturbed(t, m)
			path := filepath.Join(t.TempDir(), "m.safetensors")
			extra := map[string]string{"loss": "0.25", "note": "ünï\"code"}
			require.NoError(t, Save(path, m, w, dtype, extra))
			got, weights, metadata, err := Load[float64](path)
			require.NoError(t, err)
			require.Equal(t, m, got, name)
			require.Equal(t, extra, metadata)
			require.Equal(t, m.Spec().Weights, weights.List(), "order, shapes and initialisers")
			for _, d := range weights.List() {
				for i, v := range w.Data(d.Name) {
					// Rounding to nearest errs by half a unit in the last place; below 2⁻¹⁴ the units of F16 shrink no more.
					require.InDelta(t, v, weights.Data(d.Name)[i], relative*max(math.Abs(v), 0x1p-14), "%s as %s: %s", name, dtype, d.Name)
				}
			}
			// What is written is found again bit for bit, in either element type.
			again := filepath.Join(t.TempDir(), "again.safetensors")
			require.NoError(t, Save(again, got, weights, dtype, metadata))
			a, err := os.ReadFile(path)
			require.NoError(t, err)
			b, err := os.ReadFile(again)
			require.NoError(t, err)
			require.Equal(t, a, b)
			_, narrow, _, err := Load[float32](path)
			require.NoError(t, err)
			for _, d := range weights.List() {
				require.Equal(t, float32(weights.Data(d.Name)[0]), narrow.Data(d.Name)[0])
			}
		}
	}
}

func everyModel(t *testing.T) map[string]graph.Model {
	m := networks(t)
	for name, s := range map[string]ode.Schedule{"VPLinear": ode.VPLinear{Beta0: 0.2, Beta1: 15}, "EDM": ode.EDM{}, "offset": ode.VPCosine{Offset: 0.01}} {
		mlp, err := NewMLP(MLPConfig{Shape: []int{2}, Width: 3, Depth: 1, Schedule: s, Prediction: ode.Denoiser})
		require.NoError(t, err)
		m["MLP on "+name] = mlp
	}
	m["Classifier"] = smallClassifier(t)
	m["Mixture"] = newMixture(t, ode.Score, ode.Flow{})
	return m
}

// bareFS hides everything of its files but Read.
type bareFS struct{ fs.FS }

type bareFile struct{ f fs.File }

func (b bareFS) Open(name string) (fs.File, error) {
	f, err := b.FS.Open(name)
	return bareFile{f}, err
}
func (b bareFile) Stat() (fs.FileInfo, error) { return b.f.Stat() }
func (b bareFile) Read(p []byte) (int, error) { return b.f.Read(p) }
func (b bareFile) Close() error               { return b.f.Close() }

func TestLoadFS(t *testing.T) {
	m := smallMLP(t)
	w := perturbed(t, m)
	path := filepath.Join(t.TempDir(), "m.safetensors")
	require.NoError(t, Save(path, m, w, graph.F64, nil))
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	memory := fstest.MapFS{"a/m.safetensors": {Data: data}}
	for _, fsys := range []fs.FS{memory, bareFS{memory}} {
		got, weights, _, err := LoadFS[float64](fsys, "a/m.safetensors")
		require.NoError(t, err)
		require.Equal(t, m, got)
		require.Equal(t, w.Data(Labels), weights.Data(Labels))
	}
	_, _, _, err = LoadFS[float64](memory, "b")
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, _, _, err = LoadFS[float64](memory, "a")
	require.ErrorContains(t, err, "not a regular file")
	_, _, _, err = Load[float64](filepath.Join(t.TempDir(), "none"))
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestSaveErrors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.safetensors")
	m := smallMLP(t)
	w := perturbed(t, m)
	require.ErrorContains(t, Save(path, Labelled(m), w, graph.F32, nil), "graph.ModelFunc is not a network of this package")
	require.ErrorContains(t, Save(path, m, perturbed(t, smallDiT(t, 8)), graph.F32, nil), `missing "layers.0.weight" [16 8]`)
	require.ErrorContains(t, Save(path, m, w, graph.F32, map[string]string{"ebb.x": ""}), `"ebb.x"`)
	discrete, err := ode.DiscreteFromBetas([]float64{0.1, 0.2, 0.3})
	require.NoError(t, err)
	c := m.Config()
	c.Schedule = discrete
	other, err := NewMLP(c)
	require.NoError(t, err)
	require.EqualError(t, Save(path, other, w, graph.F32, nil), "models: Save: MLP: a schedule *ode.Discrete cannot be written; EDM, Flow, VPCosine, VPLinear can")
	_, err = os.Stat(path)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// Every way in which a file can differ from a network is an error that says how.
func TestLoadErrors(t *testing.T) {
	m := smallMLP(t)
	w := perturbed(t, m)
	encoded, err := json.Marshal(m.written())
	require.NoError(t, err)
	config := func(change func(c map[string]any)) string {
		var c map[string]any
		require.NoError(t, json.Unmarshal(encoded, &c))
		change(c)
		text, err := json.Marshal(c)
		require.NoError(t, err)
		return string(text)
	}
	header := func(change func(h map[string]string)) map[string]string {
		h := map[string]string{"ebb.model": "MLP", "ebb.version": "1", "ebb.config": string(encoded)}
		change(h)
		return h
	}
	set := func(c func(c map[string]any)) map[string]string {
		return header(func(h map[string]string) { h["ebb.config"] = config(c) })
	}
	for _, row := range []struct {
		want   string
		header map[string]string
	}{
		{`no "ebb.model"`, nil},
		{`ebb.model is "UNet"; the networks are`, header(func(h map[string]string) { h["ebb.model"] = "UNet" })},
		{"ebb.version is 2, and this build of ebb knows versions up to 1", header(func(h map[string]string) { h["ebb.version"] = "2" })},
		{`ebb.version is ""`, header(func(h map[string]string) { delete(h, "ebb.version") })},
		{`ebb.version is "0"`, header(func(h map[string]string) { h["ebb.version"] = "0" })},
		{"an object is needed, not []", header(func(h map[string]string) { h["ebb.config"] = "[]" })},
		{"an object is needed, not", header(func(h map[string]string) { delete(h, "ebb.config") })},
		{`missing Width; unknown "Breadth"; unknown "Warmth"`, set(func(c map[string]any) { delete(c, "Width"); c["Breadth"], c["Warmth"] = 1, 2 })},
		{"Width is -1; 1 to 65536 are possible", set(func(c map[string]any) { c["Width"] = -1 })},
		{"Depth is 1000000000", set(func(c map[string]any) { c["Depth"] = 1_000_000_000 })},
		{"cannot unmarshal", set(func(c map[string]any) { c["Depth"] = "three" })},
		{`no prediction "Guess"; the predictions are Noise, Data`, set(func(c map[string]any) { c["Prediction"] = "Guess" })},
		{`no schedule "Linear"; the schedules are EDM, Flow, VPCosine, VPLinear`, set(func(c map[string]any) { c["Schedule"] = map[string]any{"Linear": map[string]any{}} })},
		{`a schedule is written {"name": {parameters}}, not "Flow"`, set(func(c map[string]any) { c["Schedule"] = "Flow" })},
		{`schedule VPLinear: the fields do not fit: missing Beta0; missing Beta1; unknown "beta"`, set(func(c map[string]any) { c["Schedule"] = map[string]any{"VPLinear": map[string]any{"beta": 1}} })},
		{`the fields do not fit: missing Schedule`, set(func(c map[string]any) { c["Schedule"] = nil })},
		{`the fields do not fit: missing Prediction`, set(func(c map[string]any) { c["Prediction"] = nil })},
		{`schedule VPLinear: the fields do not fit: missing Beta1`, set(func(c map[string]any) {
			c["Schedule"] = map[string]any{"VPLinear": map[string]any{"Beta0": 0.1, "Beta1": nil}}
		})},
		{`missing "layers.3.weight" [8 6]; missing "layers.3.bias" [6]`, set(func(c map[string]any) { c["Depth"] = 3 })},
		{`surplus "labels" [4 4]`, set(func(c map[string]any) { c["Classes"] = 0 })},
		{`"labels" is [4 4], needed [10 4]`, set(func(c map[string]any) { c["Classes"] = 9 })},
	} {
		path := filepath.Join(t.TempDir(), "m.safetensors")
		require.NoError(t, w.Save(path, graph.F32, row.header))
		_, _, _, err := Load[float32](path)
		require.ErrorContains(t, err, row.want)
		require.ErrorContains(t, err, path)
	}

	path := filepath.Join(t.TempDir(), "cut.safetensors")
	require.NoError(t, Save(path, m, w, graph.F32, nil))
	require.NoError(t, os.Truncate(path, 2000))
	_, _, _, err = Load[float32](path)
	require.ErrorContains(t, err, path)
	require.NoError(t, os.WriteFile(path, []byte("PK\x03\x04 something else"), 0o600))
	_, _, _, err = Load[float32](path)
	require.ErrorContains(t, err, "header")

	tensors := []safetensors.Tensor{{Name: "scalar", Dtype: graph.F32, Float32: []float32{1}}, {Name: "empty", Dtype: graph.F32, Shape: []int{0}}}
	require.NoError(t, safetensors.WriteFile(path, header(func(map[string]string) {}), tensors))
	_, _, _, err = Load[float32](path)
	require.ErrorContains(t, err, `"empty"`)
}

// A configuration that claims a huge network costs nothing: the tensors are compared before they are made.
func TestLoadOfAHugeClaimIsCheap(t *testing.T) {
	claim := DiTConfig{Channels: 1 << 12, Height: 1 << 12, Width: 1 << 12, Patch: 1, Hidden: 1 << 14, Depth: 16, Heads: 1, Ratio: 64, Condition: 1 << 16, Classes: 1 << 20, Schedule: ode.Flow{}}
	m, err := NewDiT(claim)
	require.NoError(t, err)
	config, err := json.Marshal(m.written())
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "m.safetensors")
	header := map[string]string{"ebb.model": "DiT", "ebb.version": "1", "ebb.config": string(config)}
	require.NoError(t, safetensors.WriteFile(path, header, nil))
	_, _, _, err = Load[float32](path)
	require.ErrorContains(t, err, `missing "patch.weight" [4096 16384]`)
	for _, w := range m.Spec().Weights {
		require.Positive(t, w.Len(), "no overflow")
	}
}

// The header of a written file is a promise to other programs and to later versions.
func TestHeader(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.safetensors")
	m := smallDiT(t, 5)
	require.NoError(t, Save(path, m, perturbed(t, m), graph.F32, nil))
	f, err := safetensors.Open(path)
	require.NoError(t, err)
	defer f.Close()
	require.Equal(t, map[string]string{"ebb.model": "DiT", "ebb.version": "1", "ebb.config": strings.Join([]string{
		`{"Channels":2,"Height":4,"Width":6,"Patch":2,"Hidden":8,"Depth":2,"Heads":2,"Ratio":2,"Condition":5,"Classes":3`,
		`"TimeFeatures":6,"MaxFrequency":10,"Shard":2,"Prediction":"Noise","Schedule":{"VPCosine":{"Offset":0}}}`}, ",")}, maps.Clone(f.Metadata()))
}
