package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/examples/internal/solvers"
	"github.com/ebb-go/ebb/internal/command"
)

// shipped measures the network that ships for the data.
type shipped struct {
	*testing.T
	subject *subject
}

func openShipped(t *testing.T, dir string, args ...string) shipped {
	t.Helper()
	o, err := parse(append([]string{"-data", dir}, args...), io.Discard)
	require.NoError(t, err)
	s, err := open(o)
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return shipped{t, s}
}

func (s shipped) real(name string) line {
	s.Helper()
	for _, g := range s.subject.ladder() {
		if g.name == name {
			l, err := s.subject.rung(g)
			require.NoError(s, err)
			s.Log(name, l.figures())
			return l
		}
	}
	require.FailNow(s, "no rung", name)
	return line{}
}

func (s shipped) samples(solver string, shift, guidance float64, evaluations int) line {
	s.Helper()
	of, err := solvers.Named(solver)
	require.NoError(s, err)
	plan, err := s.subject.plan(solver, of, shift, evaluations)
	require.NoError(s, err)
	t := setting{solver, shift, guidance, evaluations, plan}
	l, err := s.subject.line(context.Background(), t, command.NewProgress(io.Discard, 0), "")
	require.NoError(s, err)
	s.Log(t, l.figures())
	return l
}

// The flow of digits that ships is seen for what was asked, and is as near to held-out images as training images are, within
// half of their distance.
func TestShippedDigits(t *testing.T) {
	s := openShipped(t, digits, "-model", digits+"/flow.safetensors", "-judge", judge, "-samples", "720")
	floor, real, made := s.real(floorRung), s.real(realRung), s.samples("midpoint", 1, 1, 20)
	require.GreaterOrEqual(t, made.Agreement, real.Agreement-0.04)
	require.GreaterOrEqual(t, made.Classes[made.Worst], 0.8)
	require.Less(t, made.Frechet, 1.5*floor.Frechet)
	require.Greater(t, made.Neighbours.Coverage, 0.9)
	require.Greater(t, made.Neighbours.Nearest, 0.9, "no copies")
}

// The bars for the flow of Fashion-MNIST that ships.
func TestShippedFashion(t *testing.T) {
	dir := os.Getenv("EBB_FASHION")
	if dir == "" {
		t.Skip("EBB_FASHION is not the folder of Fashion-MNIST; on Debian: apt-get download dataset-fashion-mnist && dpkg-deb -x dataset-fashion-mnist_*.deb fashion, and EBB_FASHION=$PWD/fashion/usr/share/datasets/fashion-mnist")
	}
	const nets = "../../testdata/fashion"
	model := filepath.Join(nets, "flow.safetensors")
	if _, err := os.Stat(model); err != nil {
		t.Skip(err)
	}
	s := openShipped(t, dir, "-model", model, "-judge", filepath.Join(nets, "classifier-b.safetensors"))
	real, noise := s.real(realRung), s.real(noiseRung)

	// All sets are of 2000 and have the same distance from being few, which real images alone have too.
	few := s.subject.samples
	s.subject.samples = s.subject.held.N
	accuracy := s.real(realRung).Agreement // on all, not on the easier ones that come first
	s.subject.samples = few

	plain := s.samples("ab3", 1.5, 1, 20)
	require.Less(t, plain.Frechet-real.Frechet, (noise.Frechet-real.Frechet)/2)
	require.GreaterOrEqual(t, plain.Agreement, accuracy-0.04)

	guided := s.samples("midpoint", 1, 2, 20)
	require.GreaterOrEqual(t, guided.Agreement, 0.95)
	require.GreaterOrEqual(t, guided.Neighbours.Coverage, 0.8)
	require.GreaterOrEqual(t, guided.Classes[guided.Worst], 0.75)

	fine, coarse := s.samples("midpoint", 1, 1, 50), s.samples("ab2", 2, 1, 5)
	require.LessOrEqual(t, coarse.Frechet, 2*fine.Frechet)
}
