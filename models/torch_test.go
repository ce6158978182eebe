package models

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/internal/safetensors"
	"github.com/ebb-go/ebb/ode"
)

var update = flag.Bool("update", false, "write testdata/torch anew: the network, its inputs, and what PyTorch makes of them")

const torchFolder = "../testdata/torch"

// A network saved here, loaded in PyTorch and evaluated there by its published definition, gives the same output and the
// same gradients to x, t and every weight. What PyTorch gave is frozen; where it is installed, it is asked again.
func TestTorchAgrees(t *testing.T) {
	const batch = 3
	m, err := NewDiT(DiTConfig{Channels: 2, Height: 8, Width: 4, Patch: 2, Hidden: 12, Depth: 2, Heads: 3, Ratio: 2, Condition: 5, Classes: 3, TimeFeatures: 6, Schedule: ode.Flow{}, Prediction: ode.FlowVelocity})
	require.NoError(t, err)
	w := graph.ConvertWeights[float32](perturbed(t, m))
	labels := []int{2, 0, 3} // the last is no class
	x, times, cotangent := normal[float32](batch*64, 1), []float32{0.1, 0.55, 0.9}, normal[float32](batch*64, 2)

	dir := torchFolder
	net, inputs, result := filepath.Join(dir, "net.safetensors"), filepath.Join(dir, "inputs.safetensors"), filepath.Join(dir, "result.safetensors")
	if *update {
		require.NoError(t, Save(net, m, w, graph.F32, nil))
		class := make([]float32, batch)
		for i, k := range labels {
			class[i] = float32(k)
		}
		require.NoError(t, safetensors.WriteFile(inputs, nil, []safetensors.Tensor{
			{Name: "x", Dtype: graph.F32, Shape: []int{batch, 2, 8, 4}, Float32: x},
			{Name: "t", Dtype: graph.F32, Shape: []int{batch}, Float32: times},
			{Name: "label", Dtype: graph.F32, Shape: []int{batch}, Float32: class},
			{Name: "cotangent", Dtype: graph.F32, Shape: []int{batch, 2, 8, 4}, Float32: cotangent},
		}))
		torch(t, net, inputs, result)
	}
	loaded, weights, _, err := Load[float32](net)
	require.NoError(t, err)
	require.Equal(t, w.Data("blocks.1.qkv.weight"), weights.Data("blocks.1.qkv.weight"), "the frozen network is the one made here; -update")

	c := newCell(t, Labelled(loaded), weights)
	hot := make([]float32, batch*4)
	for i, k := range labels {
		hot[4*i+k] = 1
	}
	y, gx, gt := make([]float32, len(x)), make([]float32, len(x)), make([]float32, batch)
	grads := map[string][]float32{}
	for _, d := range weights.List() {
		grads[d.Name] = make([]float32, d.Len())
	}
	v := graph.Values[float32]{Inputs: [][]float32{x, times, hot}, Outputs: [][]float32{y}}
	d := graph.Values[float32]{Inputs: [][]float32{gx, gt, nil}, Outputs: [][]float32{cotangent}, Weights: grads}
	require.NoError(t, c.VJP(batch, &v, &d))

	compare := func(path string) {
		f, err := safetensors.Open(path)
		require.NoError(t, err)
		defer f.Close()
		check := func(name string, have []float32) {
			info, ok := f.Info(name)
			require.True(t, ok, name)
			require.Equal(t, len(have), info.Len(), name)
			want := make([]float32, len(have))
			require.NoError(t, safetensors.Read(f, name, want))
			size := float32(0)
			for _, e := range want {
				size = max(size, e, -e)
			}
			// Two orders of adding some hundred float32 products of size one differ by about 1e-6 of the result.
			for i := range have {
				require.InDelta(t, want[i], have[i], 1e-5*float64(max(size, 1)), "%s[%d]", name, i)
			}
		}
		check("output", y)
		check("gradient.x", gx)
		check("gradient.t", gt)
		for name, g := range grads {
			check("gradient."+name, g)
		}
	}
	compare(result)
	t.Run("live", func(t *testing.T) {
		fresh := filepath.Join(t.TempDir(), "result.safetensors")
		torch(t, net, inputs, fresh)
		compare(fresh)
	})
}

// torch runs the program that computes the network, or skips the test where PyTorch is not installed.
func torch(t *testing.T, args ...string) {
	t.Helper()
	python := os.Getenv("PYTHON")
	if python == "" {
		python = "python3"
	}
	if exec.Command(python, "-c", "import torch, safetensors").Run() != nil {
		t.Skip("PyTorch and safetensors are not installed: pip install torch safetensors; PYTHON names the interpreter")
	}
	out, err := exec.Command(python, append([]string{filepath.Join(torchFolder, "parity.py")}, args...)...).CombinedOutput()
	require.NoError(t, err, "%s", out)
}
