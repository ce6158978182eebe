package ode

import (
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/stat/distuv"
)

// A Grid is a rule that makes knots: n+1 strictly monotone times from the first to the last. From above to means
// sampling, from below to inversion.
type Grid interface {
	Knots(s Schedule, from, to float64, n int) ([]float64, error)
}

// LogSNR is uniform in λ, which is the same as geometric in the noise level σ/α: the grid that others call exponential. Both
// ends must have a finite λ.
//
// Use it with solvers in λ of order 2 and more; it is the default where both ends allow it.
type LogSNR struct{}

// Knots implements [Grid].
func (LogSNR) Knots(s Schedule, from, to float64, n int) ([]float64, error) {
	a, b := s.At(from).Lambda(), s.At(to).Lambda()
	if n > 1 && (math.IsInf(a, 0) || math.IsInf(b, 0)) {
		return nil, fmt.Errorf("ode: a LogSNR grid cannot reach λ = ±Inf: λ is %v at %v and %v at %v; "+
			"keep both ends inside, use UniformTime, or set Problem.AppendZero for a last knot at σ = 0", a, from, b, to)
	}
	return spread(from, to, n, func(u float64) float64 { return s.TimeOf(a + u*(b-a)) })
}

// UniformTime is uniform in t.
//
// Use it on flows, and where λ is infinite at an end, such as a schedule whose last signal is zero.
type UniformTime struct{}

// Knots implements [Grid].
func (UniformTime) Knots(_ Schedule, from, to float64, n int) ([]float64, error) {
	return spread(from, to, n, func(u float64) float64 { return from + u*(to-from) })
}

// QuadraticTime is uniform in √t: finer towards data.
//
// Use it with multistep methods in t and in σ/α: [DEIS] and [LMS].
type QuadraticTime struct{}

// Knots implements [Grid].
func (QuadraticTime) Knots(_ Schedule, from, to float64, n int) ([]float64, error) {
	a, b := math.Sqrt(from), math.Sqrt(to)
	return spread(from, to, n, func(u float64) float64 { r := a + u*(b-a); return r * r })
}

// Karras is uniform in ρ^(1/Rho), where ρ = σ/α is the noise level; Rho zero means 7. The i-th of n+1 knots has i/n of
// the way, and the last is at to: where publications put a last zero behind n such values, set [Problem].AppendZero.
//
// Use it for samplers of the [EDM] kind, on any schedule, and with few steps. Source: Karras et al. 2022, arXiv 2206.00364, equation 5.
type Karras struct{ Rho float64 }

// Knots implements [Grid].
func (k Karras) Knots(s Schedule, from, to float64, n int) ([]float64, error) {
	rho := k.Rho
	if rho == 0 {
		rho = 7
	}
	if !(rho > 0) || math.IsInf(rho, 0) {
		return nil, fmt.Errorf("ode: Karras.Rho is %v; it must be positive and finite", k.Rho)
	}
	p, q := s.At(from), s.At(to)
	if n > 1 && (p.Alpha == 0 || q.Alpha == 0) {
		return nil, fmt.Errorf("ode: a Karras grid cannot reach α = 0 (σ/α is %v at %v and %v at %v); keep both ends inside or use UniformTime",
			p.Sigma/p.Alpha, from, q.Sigma/q.Alpha, to)
	}
	a, b := math.Pow(p.Sigma/p.Alpha, 1/rho), math.Pow(q.Sigma/q.Alpha, 1/rho)
	return spread(from, to, n, func(u float64) float64 { return s.TimeOf(-rho * math.Log(a+u*(b-a))) })
}

// LinearQuadratic is linear in t over the noisiest Linear steps, which go a part Threshold of the way, and from there on
// quadratic, with no jump in the length of steps. With w the way gone, N steps, L linear and Q = N−L,
//
//	w_i = T i/L for i ≤ L,  T + T (i−L)/L + (1 − T − T Q/L) ((i−L)/Q)² beyond
//
// Linear zero means half of the steps, Threshold zero 0.025. It is an error if steps would shrink to nothing at the end.
//
// Use it on video flows, which decide on motion in their first steps. Source: Polyak et al. 2024, arXiv 2410.13720, §3.4.2; the numbers
// are those of Mochi's release.
type LinearQuadratic struct {
	Linear    int
	Threshold float64
}

// Knots implements [Grid].
func (g LinearQuadratic) Knots(_ Schedule, from, to float64, n int) ([]float64, error) {
	l, t := g.Linear, g.Threshold
	if l == 0 {
		l = max(1, n/2)
	}
	if t == 0 {
		t = 0.025
	}
	if n < 2 {
		return spread(from, to, n, nil)
	}
	if l < 0 || l >= n {
		return nil, fmt.Errorf("ode: LinearQuadratic.Linear is %d; it lies between 1 and the number of steps less one, %d, or is 0 for half of them", g.Linear, n-1)
	}
	q, slope := float64(n-l), t/float64(l)
	if rest := 1 - t; !(t > 0 && 2*rest-slope*q > 0) {
		return nil, fmt.Errorf("ode: LinearQuadratic.Threshold is %v with %d linear steps of %d; it must be positive and below %v, else the quadratic part turns back",
			g.Threshold, l, n, 2*float64(l)/(q+2*float64(l)))
	}
	return descend(from, to, n, func(u float64) float64 {
		i := u*float64(n) - float64(l)
		if i <= 0 {
			return t + slope*i
		}
		return t + slope*i + (1-t-slope*q)*(i/q)*(i/q)
	})
}

// Beta puts the knots at the quantiles of a beta distribution over the times between the ends, A at the data end and B at the noisy one.
// Below 1 an end draws knots towards it, above it repels them. Zero means 0.6 for each.
//
// Use it with few steps of discrete models, where both ends matter: the look of the whole is decided at one, detail at the other. Source:
// Lee et al. 2024, arXiv 2407.12173.
type Beta struct{ A, B float64 }

// Knots implements [Grid].
func (g Beta) Knots(_ Schedule, from, to float64, n int) ([]float64, error) {
	a, b := g.A, g.B
	if a == 0 {
		a = 0.6
	}
	if b == 0 {
		b = 0.6
	}
	if !(a > 0 && b > 0) || math.IsInf(a+b, 0) {
		return nil, fmt.Errorf("ode: Beta.A and B are %v and %v; both must be positive and finite", g.A, g.B)
	}
	d := distuv.Beta{Alpha: a, Beta: b}
	return descend(from, to, n, func(u float64) float64 { return 1 - d.Quantile(1-u) })
}

// Sigmoid lets time follow the middle piece of a logistic curve, Start ≤ z ≤ End: fine at both ends for a piece round 0. Start is at the
// noisy end. Both zero means −3 and 3.
//
// Use it as a smooth alternative to [Beta], where neither end may be given up. Source: the curve is that of Jabri, Fleet, Chen 2022, arXiv
// 2212.11972, appendix B, there a noise schedule.
type Sigmoid struct{ Start, End float64 }

// Knots implements [Grid].
func (g Sigmoid) Knots(_ Schedule, from, to float64, n int) ([]float64, error) {
	a, b := g.Start, g.End
	if a == 0 && b == 0 {
		a, b = -3, 3
	}
	if !(a < b) || math.Max(-a, b) > 30 {
		return nil, fmt.Errorf("ode: Sigmoid.Start and End are %v and %v; Start must be below End, and both within ±30", g.Start, g.End)
	}
	// The difference of two values of the logistic curve is half that of two hyperbolic tangents.
	lo, hi := math.Tanh(a/2), math.Tanh(b/2)
	return descend(from, to, n, func(u float64) float64 { return (math.Tanh((a+u*(b-a))/2) - lo) / (hi - lo) })
}

// Shift lays another grid at noise levels σ/α that are By times lower, and lifts it up: λ falls by ln By. On [Flow] over a [UniformTime] grid
// that is
//
//	t ← By t / (1 + (By−1) t)
//
// so that By > 1 spends more steps on noise. The ends stay where they are. By zero means 3.
//
// Use it for flows on large pictures, where neighbouring pixels tell more of each other, so that the same noise destroys less; for FLUX take
// By from [ShiftForTokens]. Source: Esser et al. 2024, arXiv 2403.03206, equation 23; Hoogeboom, Heek, Salimans 2023, arXiv 2301.11093, for
// other schedules.
type Shift struct {
	By   float64
	Grid Grid // nil means UniformTime. LogSNR does not notice a shift
}

// ShiftForTokens is the By of a [Shift] for pictures of so many tokens: e^μ, where μ is linear in tokens and is 0.5 at 256 and 1.15 at 4096.
// Source: the release of FLUX.1 (Black Forest Labs 2024).
func ShiftForTokens(tokens int) float64 {
	return math.Exp(0.5 + (1.15-0.5)*float64(tokens-256)/(4096-256))
}

// Knots implements [Grid].
func (g Shift) Knots(s Schedule, from, to float64, n int) ([]float64, error) {
	by, inner := g.By, g.Grid
	if by == 0 {
		by = 3
	}
	if !(by > 0) || math.IsInf(by, 0) {
		return nil, fmt.Errorf("ode: Shift.By is %v; it must be positive and finite", g.By)
	}
	if inner == nil {
		inner = UniformTime{}
	}
	if n < 2 {
		return spread(from, to, n, nil)
	}
	shifted := func(t, by float64) float64 {
		if l := s.At(t).Lambda(); !math.IsInf(l, 0) {
			return s.TimeOf(l - math.Log(by))
		}
		return t
	}
	lo, hi := s.Domain()
	a, b := shifted(from, 1/by), shifted(to, 1/by)
	if !(min(a, b) >= lo && max(a, b) <= hi) {
		return nil, fmt.Errorf("ode: Shift.By is %v, for which the grid would have to reach from %v to %v, outside of the domain [%v, %v] of %v; "+
			"a By above 1, or ends nearer to data, stay inside", by, a, b, lo, hi, describe(s))
	}
	ks, err := inner.Knots(s, a, b, n)
	if err != nil {
		return nil, err
	}
	for i := range ks {
		ks[i] = shifted(ks[i], by)
	}
	ks[0], ks[len(ks)-1] = from, to
	return ks, nil
}

// Levels goes through given noise levels σ/α, from noise to data, for any number of steps: their logarithms are interpolated linearly in the
// number of the step, and stretched so that the first and last are at the ends.
//
// Use it for grids that were optimised for a model, such as those of Align Your Steps. To have a list exactly, let the ends be those of the
// list ([Schedule].TimeOf of −ln ρ), or give [Problem].Knots. Source: Sabour, Fidler, Kreis 2024, arXiv 2404.14507, table 3, whose guide has
// the interpolation.
type Levels []float64

// Knots implements [Grid].
func (g Levels) Knots(s Schedule, from, to float64, n int) ([]float64, error) {
	if len(g) < 2 {
		return nil, fmt.Errorf("ode: Levels has %d noise levels; at least 2 are needed", len(g))
	}
	for i, r := range g {
		if !(r > 0) || math.IsInf(r, 0) {
			return nil, fmt.Errorf("ode: Levels[%d] is %v; noise levels are positive and finite (for a last zero set Problem.AppendZero)", i, r)
		}
		if i > 0 && r >= g[i-1] {
			return nil, fmt.Errorf("ode: Levels[%d] = %v does not fall below Levels[%d] = %v", i, r, i-1, g[i-1])
		}
	}
	noisy, clean := s.At(max(from, to)).Lambda(), s.At(min(from, to)).Lambda()
	if n > 1 && (math.IsInf(noisy, 0) || math.IsInf(clean, 0)) {
		return nil, fmt.Errorf("ode: Levels cannot reach λ = ±Inf: λ is %v at %v and %v at %v; keep both ends inside, or set Problem.AppendZero for a last knot at σ = 0",
			noisy, max(from, to), clean, min(from, to))
	}
	last := len(g) - 1
	whole := math.Log(g[0] / g[last])
	gone := func(u float64) float64 {
		i := min(int(u*float64(last)), last-1)
		f := u*float64(last) - float64(i)
		return ((1-f)*math.Log(g[0]/g[i]) + f*math.Log(g[0]/g[i+1])) / whole
	}
	return spread(from, to, n, func(u float64) float64 {
		if from < to {
			u = 1 - u
		}
		return s.TimeOf(noisy + gone(u)*(clean-noisy))
	})
}

// Spacing says which levels of a [Discrete] schedule [LevelKnots] takes.
type Spacing int

// The spacings, for N levels and n steps.
const (
	// Trailing takes every N/n-th level counted from the last, so that sampling starts where training ended. Use it unless there is a
	// reason not to (Lin et al. 2023, arXiv 2305.08891, table 2).
	Trailing Spacing = iota
	// Linspace spreads n levels from the last to the first.
	Linspace
	// Leading takes every ⌊N/n⌋-th level from the first, so that sampling starts up to N/n levels below the last, which is not noise
	// alone. Use it to repeat results that were got so: those of DDIM.
	Leading
	// LeadingNext is Leading one level higher, as Stable Diffusion was published.
	LeadingNext
)

// LevelKnots returns n+1 knots for [Problem].Knots: n of the levels that a model was trained at, rounded as in the publications, and 0
// behind them. To end at the cleanest level instead, as Stable Diffusion does, set the last knot to 1/N.
//
// It is an error if there are less than n levels, a Leading spacing is asked for one step, which would start next to data, or LeadingNext
// for all levels.
func LevelKnots(s *Discrete, n int, how Spacing) ([]float64, error) {
	if err := checkSchedule(s); err != nil {
		return nil, err
	}
	levels := s.Levels()
	if n < 1 || n > levels {
		return nil, fmt.Errorf("ode: LevelKnots: %d steps for %d levels; it lies between 1 and the number of levels", n, levels)
	}
	ks := make([]float64, n+1)
	for i := range n {
		var level float64 // counted from 1
		switch how {
		case Trailing:
			level = math.RoundToEven(float64(levels) - float64(i)*float64(levels)/float64(n))
		case Linspace:
			level = float64(levels)
			if n > 1 {
				level = 1 + math.RoundToEven(float64(n-1-i)*float64(levels-1)/float64(n-1))
			}
		case Leading, LeadingNext:
			if n == 1 {
				return nil, fmt.Errorf("ode: LevelKnots: a Leading spacing of 1 step would start at the cleanest level; use Trailing")
			}
			if how == LeadingNext && n == levels {
				return nil, fmt.Errorf("ode: LevelKnots: LeadingNext takes at most one level less than there are, %d; use Trailing", levels-1)
			}
			level = float64((n-1-i)*(levels/n)) + 1 + float64(how-Leading)
		default:
			return nil, fmt.Errorf("ode: LevelKnots: Spacing is %d; Trailing, Linspace, Leading and LeadingNext exist", how)
		}
		ks[i] = level / float64(levels)
	}
	return ks, nil
}

// descend is spread for a grid whose two ends differ: gone is the part of the way from the noisy end to that of data, whichever comes first.
func descend(from, to float64, n int, gone func(u float64) float64) ([]float64, error) {
	ks, err := spread(max(from, to), min(from, to), n, func(u float64) float64 {
		w := gone(u)
		return (1-w)*max(from, to) + w*min(from, to)
	})
	if err == nil && from < to {
		slices.Reverse(ks)
	}
	return ks, err
}

// spread fills the inside of a grid; the ends are the given ones to the last bit.
func spread(from, to float64, n int, at func(u float64) float64) ([]float64, error) {
	if n < 1 {
		return nil, fmt.Errorf("ode: a grid needs at least 1 step, not %d", n)
	}
	ks := make([]float64, n+1)
	for i := 1; i < n; i++ {
		ks[i] = at(float64(i) / float64(n))
	}
	ks[0], ks[n] = from, to
	return ks, nil
}

// checkKnots returns an error with index and value for the first knot that is wrong.
func checkKnots(s Schedule, ks []float64) error {
	if len(ks) < 2 {
		return fmt.Errorf("ode: %d knots; at least 2 are needed, the first and the last time", len(ks))
	}
	lo, hi := s.Domain()
	for i, t := range ks {
		if math.IsNaN(t) || math.IsInf(t, 0) {
			return fmt.Errorf("ode: knot %d is %v; knots are finite", i, t)
		}
		if t < lo || t > hi {
			return fmt.Errorf("ode: knot %d = %v is outside of the domain [%v, %v] of %v", i, t, lo, hi, describe(s))
		}
		if i == 0 {
			continue
		}
		if t == ks[i-1] || (i > 1 && (t < ks[i-1]) != (ks[1] < ks[0])) {
			return fmt.Errorf("ode: knot %d = %v does not follow knot %d = %v: knots must be strictly monotone", i, t, i-1, ks[i-1])
		}
	}
	return nil
}
