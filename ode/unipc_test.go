package ode_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/ode"
)

// B cancels wherever an equation is solved: with order 3 it is left in the second step's predictor and the first step's corrector alone.
func TestBMattersOnlyForASingleSlope(t *testing.T) {
	p := ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Data, Steps: 6}
	a, b := compile(t, ode.UniPC{Order: 3}, p), compile(t, ode.UniPC{Order: 3, B: ode.B1}, p)
	var differ []int // steps
	for i, in := range a.Code {
		if in.Op == ode.Combine && fmt.Sprint(in.Terms) != fmt.Sprint(b.Code[i].Terms) {
			differ = append(differ, in.Step)
		}
	}
	require.Equal(t, []int{0, 1}, differ)
	require.NotEqual(t, a.Name, b.Name)
}

func TestUniPCRefuses(t *testing.T) {
	for _, c := range []struct {
		want   string
		solver ode.UniPC
	}{{"Order is 5; 1 to 4 exist", ode.UniPC{Order: 5}}, {"Order is -2", ode.UniPC{Order: -2}}, {"B is 3", ode.UniPC{B: 3}},
		{"nothing for LowerFinal", ode.UniPC{Order: 1, LowerFinal: true}}, {"no slope for B", ode.UniPC{Order: 1, NoCorrector: true, B: ode.B1}}} {
		_, err := c.solver.Plan(ode.Problem{Schedule: ode.VPLinear{}, Steps: 3})
		require.ErrorContains(t, err, c.want)
	}
}

func ExampleUniPC() {
	p, err := ode.UniPC{Order: 2}.Plan(ode.Problem{Schedule: ode.EDM{}, Raw: ode.Data, Knots: []float64{10, 5, 2}})
	if err != nil {
		panic(err)
	}
	fmt.Print(p)
	// Output:
	// UniPC-2: order 3, 2 evaluations and 0 draws, network predicts Data
	// in  x=x0
	// out x=x2
	// of  knots[3]
	//   m0 = net(x0, t=10)  #0
	//   v2 = 0.5·x0 + 0.5·m0
	//   m1 = net(v2, t=5)  #1
	//   x1 = 0.5·x0 + 0.25·m0 + 0.25·m1
	//   x2 = 0.4·x1 + 0.9966·m1 − 0.3966·m0
}
