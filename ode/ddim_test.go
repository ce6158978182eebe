package ode_test

import (
	"context"
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/ode"
)

// The noise put back at η = 1 has the posterior variance of DDPM, (1−ᾱ_t)/(1−ᾱ_s)·(1−ᾱ_s/ᾱ_t); its deviation falls with η.
func TestDDIMPutsBackThePosteriorVariance(t *testing.T) {
	s := ode.VPLinear{}
	for _, eta := range []float64{.3, 1} {
		p := compile(t, ode.DDIM{Eta: eta}, ode.Problem{Schedule: s, Raw: ode.Noise, Steps: 7})
		require.Equal(t, 7, p.Draws())
		draw := 0
		for i, in := range p.Code {
			if in.Op != ode.Draw {
				continue
			}
			from, to := s.At(p.Knots[draw].T), s.At(p.Knots[draw+1].T)
			bs, bt := from.Alpha*from.Alpha, to.Alpha*to.Alpha
			want := eta * math.Sqrt((1-bt)/(1-bs)*(1-bs/bt))
			terms := p.Code[i+1].Terms
			require.Equal(t, in.Dst, terms[len(terms)-1].Reg)
			require.InEpsilon(t, want, terms[len(terms)-1].C, 1e-11, "η = %v, step %d", eta, draw)
			require.Equal(t, [2]float64{from.T, to.T}, [2]float64{in.From, in.To})
			draw++
		}
	}
}

// With the exact model of a Gaussian, sampling with noise leaves the distribution as it is, up to the error of the steps:
// mean and variance of the sample are those of the data.
func TestDDIMWithNoiseKeepsTheMarginals(t *testing.T) {
	m, batch := gaussian(), 8000
	for _, eta := range []float64{0, .5, 1} {
		p := compile(t, ode.DDIM{Eta: eta}, ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, Steps: 240, AppendZero: true})
		r, err := ode.NewRunner[float64](p, batch, 2)
		require.NoError(t, err)
		x := make([]float64, 2*batch)
		require.NoError(t, ode.Seed[float64]{Key: 7}.Draw(x, ode.DrawCall{Index: -1, Batch: batch}))
		require.NoError(t, r.Run(context.Background(), field(t, m, p), ode.Inputs[float64]{Ports: map[string][]float64{"x": x}, Noise: ode.Seed[float64]{Key: 7}}))
		for d := range 2 {
			sum, square := 0., 0.
			for i := range batch {
				v := r.Output("x")[2*i+d]
				sum, square = sum+v, square+v*v
			}
			mean := sum / float64(batch)
			sd := math.Sqrt(m.Variance[d] / float64(batch))
			// four standard errors, and 0.01 (variance: 4 %) for steps of first order: it is 10 % with a quarter of them
			require.InDelta(t, m.Mean[d], mean, 4*sd+.01, "η = %v", eta)
			require.InDelta(t, 1, (square/float64(batch)-mean*mean)/m.Variance[d], 4*math.Sqrt(2/float64(batch))+.04, "η = %v", eta)
		}
	}
}

func TestDDIMRefuses(t *testing.T) {
	vp := ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, Steps: 3}
	for _, eta := range []float64{-.1, 1.1, math.NaN()} {
		_, err := ode.DDIM{Eta: eta}.Plan(vp)
		require.ErrorContains(t, err, fmt.Sprintf("Eta is %v", eta))
	}
	up := vp
	up.From, up.To = .1, 1
	_, err := ode.DDIM{Eta: .5}.Plan(up)
	require.ErrorContains(t, err, "only Eta 0 inverts")
	_, err = ode.DDIM{}.Plan(up)
	require.NoError(t, err)
	_, err = ode.DDIM{}.Plan(ode.Problem{Schedule: ode.Flow{}, Raw: ode.Noise, Steps: 3})
	require.ErrorContains(t, err, "Noise does not determine x_0 and ε at t = 1")
}

// Inversion starts where σ = 0 if the network can say what ε is there.
func TestDDIMInvertsFromData(t *testing.T) {
	for _, raw := range predictions {
		p, err := ode.DDIM{}.Plan(ode.Problem{Schedule: ode.VPLinear{}, Raw: raw, From: 0, To: 1, Steps: 10, Grid: ode.UniformTime{}})
		switch raw {
		case ode.Noise, ode.Velocity:
			require.NoError(t, err, raw)
			for _, v := range run(t, p, field(t, goldenMixture(t), p), 4, map[string][]float64{"x": latents}) {
				require.False(t, math.IsNaN(v) || math.IsInf(v, 0), raw)
			}
		default:
			require.Error(t, err, raw)
		}
	}
}

func ExampleDDIM() {
	p, err := ode.DDIM{}.Plan(ode.Problem{Schedule: ode.Flow{}, Raw: ode.FlowVelocity, Steps: 2})
	if err != nil {
		panic(err)
	}
	fmt.Print(p)
	// Output:
	// DDIM: order 1, 2 evaluations and 0 draws, network predicts FlowVelocity
	// in  x=x0
	// out x=x2
	// of  knots[3]
	//   m0 = net(x0, t=1)  #0
	//   x1 = x0 − 0.5·m0
	//   m1 = net(x1, t=0.5)  #1
	//   x2 = x1 − 0.5·m1
}
