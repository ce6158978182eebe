package ode

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAPlanPrintsAsAPersonWouldWriteIt(t *testing.T) {
	p := handPlan(t, true)
	p.params = []Param{{Name: "knots", Value: []float64{.9, .5, .1}}, {Name: "ratio", Value: []float64{1}}}
	require.Equal(t, `hand: order 1, 3 evaluations and 2 draws, network predicts FlowVelocity
in  x=x0, y, idle, V@1
out x=x2, y=v8, V@1=v15, V@0
of  knots[3], ratio[1]
  m0 = net(x0, t=0.9) → V=V@0  #0
  z0 = noise[0]  over 0.9 to 0.5
  x1 = b + 0.5·x0 + E·m0 − 0.7·S·z0 + y
  m1 = net(x1, t of 2 samples; V=V@1) → V=v15  #1
  z1 = noise[1]  over 0.5 to 0.1
  v8 = x1
  v9 = 0.2·E·S·m1 + 1.1·v8 + 0.4·z1 − 0.25·x0
  m2 = net(v9, t=0.2; V=V@0)  #2
  v11 = 0.9·v9 + 0.4·m2 + 0·v8
  x2 = clip(v11, max 0.3, quantile 0.6)
`, p.String())

	q, err := p.Transpose(1)
	require.NoError(t, err)
	require.Equal(t, `hand, transposed: 3 transposed evaluations
in  x, y, V@1, V@0, knot[1]
out x=c20, y=c15, idle=c21, V@1=c14, noise[0]=c16, noise[1]=c11
  c5 = clipᵀ(x; at v11, max 0.3, quantile 0.6)
  c6 = 0.4·c5
  c7 = netᵀ(c6; at v9, t=0.2; V=V@0) → V=c8  #2
  c9 = 0.9·c5 + c7
  c10 = y + 0·c5 + 1.1·c9
  c11 = 0.4·c9
  c12 = 0.2·E·S·c9
  c13 = netᵀ(c12; V=V@1; at x1, t of 2 samples; V=V@1) → V=c14  #1
  c15 = knot[1] + c10 + c13
  c16 = −0.7·S·c15
  c17 = E·c15
  c18 = V@0 + c8
  c19 = netᵀ(c17; V=c18; at x0, t=0.9)  #0
  c20 = −0.25·c9 + 0.5·c15 + c19
  c21 = 0
`, q.String())
}

func TestThePlanIsCounted(t *testing.T) {
	p := handPlan(t, false)
	require.Equal(t, 3, p.NFE())
	require.Equal(t, 2, p.Draws())
	require.Equal(t, []float64{.9, .5, 1, -.7, 1, .5, 1, .2, 1.1, .4, -.25, .2, .9, .4, 0}, p.Table())
	r, ok := p.Output("y")
	require.True(t, ok)
	require.Equal(t, Reg(8), r)
	_, ok = p.Input("nothing")
	require.False(t, ok)
}
