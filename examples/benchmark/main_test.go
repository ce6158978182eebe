package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/internal/kernels"
)

// small is one call of every key, once it is warm, of two images.
func small(t *testing.T, args ...string) options {
	t.Helper()
	o, err := parse(append([]string{"-repeat", "1"}, args...), io.Discard)
	require.NoError(t, err)
	o.least, o.batch = 0, 2
	return o
}

func TestJSONIsOneFlatObjectOfAllKeys(t *testing.T) {
	var out, log bytes.Buffer
	require.NoError(t, small(t, "-json").run(context.Background(), &out, &log))
	var object map[string]any
	require.NoError(t, json.Unmarshal(out.Bytes(), &object))
	for _, key := range []string{"gemm_f32_256", "gemm_f32_512", "gemm_f32_1024", "gemm_f32_3136x128x384", "gemm_f32_3136x128x512",
		"gemm_f32_3136x512x128", "gemm_f32_3136x128x128", "mlp_forward", "mlp_vjp", "dit_forward", "dit_vjp_latent", "dit_vjp",
		"dit_train_step", "sample20", "gradient20", "gradient20_peak_bytes", "solver_step"} {
		v, ok := object[key].(float64)
		require.True(t, ok, key)
		require.Positive(t, v, key)
		require.Contains(t, log.String(), key+" ", "progress")
		delete(object, key)
	}
	require.Equal(t, kernels.Path(), object["kernels"])
	require.EqualValues(t, runtime.NumCPU(), object["threads"])
	require.Contains(t, object["go"], "go1.")
	require.NotEmpty(t, object["machine"])
	require.Len(t, object, 4)
}

func TestTableHasUnits(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, small(t, "-only", "solver_step, gemm_f32_256").run(context.Background(), &out, io.Discard))
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Len(t, lines, 4, "machine, an empty line, and a line a key, in the table's order")
	require.Contains(t, lines[2], "gemm_f32_256  ")
	require.Contains(t, lines[2], "GFLOP/s")
	require.Contains(t, lines[3], "µs")
}

func TestSharesOfAProductAreTheProduct(t *testing.T) {
	for _, s := range [][3]int{{70, 40, 100}, {500, 33, 32}} { // by columns, whose last share is not whole panels, and by rows
		m, k, n := s[0], s[1], s[2]
		c := make([]float32, m*n)
		p := newProduct(3, m, k, n)
		require.NoError(t, p.multiply(c))
		p.close()
		want := make([]float32, m*n)
		kernels.Gemm(false, false, m, n, k, p.a, k, p.b, n, want, n, false, make([]float32, kernels.GemmScratch[float32](false, false, m, n, k)))
		require.Equal(t, want, c)
	}
}

func TestFlags(t *testing.T) {
	for _, row := range []struct{ args, want string }{
		{"-only gemm", `"gemm" is no key; use some of gemm_f32_256`},
		{"-only=", `"" is no key`},
		{"-threads 0", "-threads 0; 1 to"},
		{"-threads 1000000", "are possible here"},
		{"-repeat 0", "at least 1"},
		{"-json -peers", "-json has no effect beside -peers"},
		{"-python python", "no effect without -peers"},
		{"-wrong", "not defined: -wrong"},
		{"-profile solver_step", `-profile "solver_step"; use one of mlp_forward`},
		{"-profile mlp_vjp -json", "no effect beside -profile"},
		{"-slopes -only mlp_vjp", "no effect beside -slopes"},
		{"dit", `["dit"] is left over`},
	} {
		err := run(context.Background(), strings.Fields(row.args), io.Discard, io.Discard)
		require.ErrorContains(t, err, row.want, row.args)
		require.ErrorAs(t, err, new(usageError), row.args)
	}
	var out bytes.Buffer
	require.ErrorIs(t, run(context.Background(), []string{"-h"}, &out, io.Discard), flag.ErrHelp)
	require.Contains(t, out.String(), "dit_train_step")
	require.Contains(t, out.String(), "-peers")
}

func TestProfileNamesOpsAndWorkers(t *testing.T) {
	o, err := parse([]string{"-profile", "mlp_vjp", "-threads", "1"}, io.Discard)
	require.NoError(t, err)
	o.least = 0
	var out bytes.Buffer
	require.NoError(t, o.run(context.Background(), &out, io.Discard))
	require.Regexp(t, `(?m)^mlp_vjp: .*VJP to input and weights`, out.String())
	require.Regexp(t, `MB owned in all\nworker 0: in ops for [0-9.]+ % of`, out.String())
	require.Regexp(t, `(?m)^ +[0-9.]+ +[0-9.]+ % +8 +[0-9.]+ +[0-9.]+ +[0-9.]+ +contract 64×256, 64×256$`, out.String(), "two of them in four shards")
}

func TestSlopeIsWhatOneMoreCosts(t *testing.T) {
	require.InDelta(t, 3, slope([]float64{1, 2, 4, 8}, []float64{10, 13, 19, 31}), 1e-12)
	require.Less(t, slope([]float64{1, 2, 4}, []float64{5, 5, 5}), 1e-12)
	require.Len(t, lines(), 3)
	for _, l := range lines()[2:] { // the quickest
		j, owned, err := l.open(2, 1)
		require.NoError(t, err)
		require.NoError(t, j.do(context.Background()))
		require.Greater(t, owned(), int64(1<<20))
		j.close()
	}
}

func TestBetterOfTwo(t *testing.T) {
	v := map[string]float64{}
	for _, x := range []float64{2, 3, 1} {
		keep(v, "gemm_f32_256", x)
		keep(v, "mlp_vjp", x)
	}
	require.Equal(t, map[string]float64{"gemm_f32_256": 3, "mlp_vjp": 1}, v)
}

func TestMarkdown(t *testing.T) {
	var out bytes.Buffer
	a := &peer{name: "a", values: map[string]float64{"mlp_vjp": 2e-3, "gemm_f32_256": 100}}
	b := &peer{name: "b", values: map[string]float64{"mlp_vjp": 4e-3}}
	ours := map[string]float64{"gemm_f32_256": 150, "mlp_vjp": 1e-3, "solver_step": 3e-6}
	require.NoError(t, markdown(&out, []string{"gemm_f32_256", "mlp_vjp", "solver_step"}, ours, []*peer{a, b}))
	require.Equal(t, `| key | ebb | a | b | ebb ÷ best peer |
|---|---|---|---|---|
| gemm_f32_256 | 150 GFLOP/s | 100 GFLOP/s | – | 1.50 |
| mlp_vjp | 1 ms | 2 ms | 4 ms | 0.50 |
| solver_step | 3 µs | – | – | – |
`, out.String())
}

// standIn answers as a peer does.
const standIn = `#!/bin/sh
case "$*" in *"import jax"*) exit 0;; *import*) exit 1;; esac
while read key; do
	case $key in mlp_*) echo "{\"key\": \"$key\", \"value\": 1000}";; *) echo "{\"key\": \"$key\", \"value\": null}";; esac
done
`

func TestPeersThatAreInstalledAreMeasured(t *testing.T) {
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip("the stand-in for Python is a shell script")
	}
	python := filepath.Join(t.TempDir(), "python")
	require.NoError(t, os.WriteFile(python, []byte(standIn), 0o755))
	var out, log bytes.Buffer
	require.NoError(t, small(t, "-peers", "-python", python, "-scripts", "peers", "-only", "mlp_forward,solver_step").run(context.Background(), &out, &log))
	require.Contains(t, log.String(), "torch is left out")
	require.Contains(t, out.String(), "| key | ebb | jax | ebb ÷ best peer |")
	require.Regexp(t, `\| mlp_forward \| .* \| 1e\+06 ms \| 0\.00 \|`, out.String())
	require.Regexp(t, `\| solver_step \| .* \| – \| – \|`, out.String())

	require.ErrorContains(t, small(t, "-peers", "-python", filepath.Join(t.TempDir(), "none"), "-scripts", "peers").run(context.Background(), io.Discard, &log), "no peer")
}
