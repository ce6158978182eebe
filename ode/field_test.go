package ode_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/ode/exact"
)

// A plan for what a network was not trained for is refused; one that says the same in other words is not.
func TestPlansFitWhatTheNetworkWasTrainedFor(t *testing.T) {
	betas := make([]float64, 1000) // the levels of VPLinear
	for i := range betas {
		step := ode.VPLinear{}.At(float64(i+1)/1000).Alpha / ode.VPLinear{}.At(float64(i)/1000).Alpha
		betas[i] = 1 - step*step
	}
	table, err := ode.DiscreteFromBetas(betas)
	require.NoError(t, err)
	type side struct {
		schedule ode.Schedule
		raw      ode.Prediction
	}
	for name, row := range map[string]struct {
		plan, network side
		want          string // "" if they fit
	}{
		"the same":                    {side{ode.Flow{}, ode.FlowVelocity}, side{ode.Flow{}, ode.FlowVelocity}, ""},
		"defaults written out":        {side{ode.VPLinear{}, ode.Noise}, side{ode.VPLinear{Beta0: 0.1, Beta1: 20}, ode.Noise}, ""},
		"a table of the formula":      {side{ode.VPLinear{}, ode.Noise}, side{table, ode.Noise}, ""},
		"a table of another":          {side{ode.VPCosine{}, ode.Noise}, side{table, ode.Noise}, "was trained on *ode.Discrete"},
		"another prediction":          {side{ode.VPLinear{}, ode.Noise}, side{ode.VPLinear{}, ode.Velocity}, "predicts Noise, and this one predicts Velocity"},
		"another schedule":            {side{ode.VPLinear{}, ode.Noise}, side{ode.VPCosine{}, ode.Noise}, "schedule ode.VPLinear"},
		"another parameter":           {side{ode.VPLinear{}, ode.Noise}, side{ode.VPLinear{Beta0: 0.1, Beta1: 19}, ode.Noise}, "was trained on ode.VPLinear{Beta0:0.1 Beta1:19}"},
		"times outside":               {side{ode.EDM{}, ode.Data}, side{ode.Flow{}, ode.Data}, "schedule ode.EDM"},
		"a denoiser, any schedule":    {side{ode.VPLinear{}, ode.Denoiser}, side{ode.EDM{}, ode.Denoiser}, ""},
		"a denoiser is data on EDM":   {side{ode.EDM{}, ode.Data}, side{ode.EDM{}, ode.Denoiser}, ""},
		"and the other way round":     {side{ode.EDM{}, ode.Denoiser}, side{ode.EDM{}, ode.Data}, ""},
		"a denoiser is not data else": {side{ode.VPLinear{}, ode.Data}, side{ode.VPLinear{}, ode.Denoiser}, "predicts Data, and this one predicts Denoiser"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := ode.DDIM{}.Plan(ode.Problem{Schedule: row.plan.schedule, Raw: row.plan.raw, Steps: 4})
			require.NoError(t, err)
			f, err := exact.NewField[float64](exact.Gaussian{Mean: []float64{1}, Variance: []float64{2}}, row.network.schedule, row.network.raw)
			require.NoError(t, err)
			r, err := ode.NewRunner[float64](p, 1, 1)
			require.NoError(t, err)
			err = r.Run(t.Context(), f, ode.Inputs[float64]{Ports: map[string][]float64{"x": {0.5}}})
			if row.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, row.want)
			require.Less(t, len(err.Error()), 300)
			require.NoError(t, r.Run(t.Context(), silent{}, ode.Inputs[float64]{Ports: map[string][]float64{"x": {0.5}}}), "a field that does not tell is taken")
		})
	}
}

// silent is a field that does not tell what it was trained for.
type silent struct{}

func (silent) Eval(dst, _ []float64, _ ode.Call[float64]) error {
	clear(dst)
	return nil
}
