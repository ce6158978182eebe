package main

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/internal/command"
)

// Solvers that are exact for polynomials of another degree than order − 1, and why. The step before the last is measured.
func otherDegrees() map[string]int {
	degrees := map[string]int{}
	for _, c := range []struct {
		reason string
		degree int
		names  []string
	}{
		{"½ φ_1 is right to second order, not for a slope", 0, []string{
			`{"name":"dpm","order":2,"correction":"midpoint"}`, `{"name":"dpm","order":2,"single":true,"correction":"midpoint"}`, `{"name":"dpm","order":2,"fast":true}`,
			`{"name":"dpmpp","order":2,"correction":"midpoint"}`, `{"name":"dpmpp","order":2,"single":true,"correction":"midpoint"}`, `{"name":"dpmpp","order":2,"fast":true}`,
			`{"name":"dpm","order":2,"lower-final":true}`, `{"name":"dpm","order":3,"lower-final":true}`,
			`{"name":"dpmpp","order":2,"lower-final":true}`, `{"name":"dpmpp","order":3,"lower-final":true}`,
		}},
		{"nor is ½ B, where one slope is fitted to one equation", 0, []string{
			`{"name":"unipc","order":1,"b":"b1"}`, `{"name":"unipc","order":2,"no-corrector":true}`, `{"name":"unipc","order":2,"b":"b1","no-corrector":true}`,
			`{"name":"unipc","order":2,"uncorrected":[0,2]}`,
		}},
		{"one slope, placed at 2/3 for the third order", 1, []string{
			`{"name":"dpm","order":3,"single":true,"correction":"midpoint"}`, `{"name":"dpmpp","order":3,"single":true,"correction":"midpoint"}`,
		}},
		{"only the last step has a lower order", 2, []string{`{"name":"unipc","order":2,"lower-final":true}`, `{"name":"unipc","order":3,"lower-final":true}`}},
		{"weights for equal steps", 0, []string{
			`{"name":"pndm","order":2}`, `{"name":"pndm","order":3}`, `{"name":"pndm","order":4}`, `{"name":"pndm","order":2,"start":"spndm"}`,
			`{"name":"pndm","order":4,"start":"spndm"}`, `{"name":"pndm","order":4,"start":"fpndm"}`, `{"name":"bdia"}`,
		}},
		{"Radau's quadrature", 2, []string{
			`{"name":"rk","tableau":"ralston","in":"ratio"}`, `{"name":"rk","tableau":"ralston","in":"time"}`, `{"name":"rk","tableau":"ralston"} on flow`,
		}},
		{"Simpson's quadrature", 3, []string{
			`{"name":"rk","tableau":"kutta","in":"ratio"}`, `{"name":"rk","tableau":"kutta","in":"time"}`, `{"name":"rk","tableau":"kutta"} on flow`,
			`{"name":"rk","tableau":"ssprk3","in":"ratio"}`, `{"name":"rk","tableau":"ssprk3","in":"time"}`, `{"name":"rk","tableau":"ssprk3"} on flow`,
			`{"name":"coupled","tableau":"kutta"}`,
		}},
	} {
		for _, name := range c.names {
			degrees[name] = c.degree
		}
	}
	return degrees
}

// Every solver of -list, with every option that bears on its order, keeps that order once it has its history, and is exact for polynomials of
// one degree less and for no more.
func TestEverySolverHasItsOrder(t *testing.T) {
	others, seen := otherDegrees(), map[string]bool{}
	for _, v := range variants() {
		var name struct{ Name string }
		text, _, _ := strings.Cut(strings.Replace(v.solver, "…", "0", 1), ", those")
		require.NoError(t, json.Unmarshal([]byte(text), &name), v.solver)
		seen[name.Name] = true
		t.Run(v.solver, func(t *testing.T) {
			t.Parallel()
			m, err := v.measure(false)
			require.NoError(t, err)
			switch {
			case name.Name == "time-shift" || name.Name == "normalize-variance": // which leave the ODE on purpose
				return
			case name.Name == "adaptive": // whose steps are their own
				require.Greater(t, m.cold, float64(m.order)-.5)
				return
			case math.IsNaN(m.exact): // noise: moments
				require.Greater(t, m.cold, float64(m.order)-.15)
				return
			}
			require.Greater(t, m.exact, float64(m.order)-.15)
			want, other := others[m.name]
			if !other {
				want = m.order - 1
			}
			require.Equal(t, want, m.degree, m.in)
		})
	}
	for _, n := range natives() {
		require.True(t, seen[n.name], n.name)
	}
}

// What the tests of package ode leave out: solvers whose coefficients are of statistics, ratios and decisions. The command does all.
func TestEveryWrongNumberIsFound(t *testing.T) {
	for _, v := range variants() {
		if v.solver != `{"name":"dpmv3","order":2,"corrector":true}` && !strings.Contains(v.solver, `"dc","`) && !strings.Contains(v.solver, `"usf"`) {
			continue
		}
		t.Run(v.solver, func(t *testing.T) {
			t.Parallel()
			m, err := v.measure(true)
			require.NoError(t, err)
			require.Greater(t, len(m.slots), 4)
			require.NotContains(t, m.slots, "!")
		})
	}
}

func TestOrdersArePrinted(t *testing.T) {
	var out bytes.Buffer
	ms, err := measureAll(context.Background(), variants()[:3])
	require.NoError(t, err)
	table(&out, ms)
	require.Contains(t, out.String(), "| `{\"name\":\"ddim\"}` | 1 | 1.00 | 1.00 | 0 | 0 | λ, data |\n")
	require.Contains(t, out.String(), "| `{\"name\":\"ddim\"}` | 3 | okk |\n")
	for _, args := range [][]string{{"-orders", "-list"}, {"-orders", "-in", "x"}, {"-list", "-in", "x"}} {
		err := run(context.Background(), args, nil, &out)
		require.ErrorAs(t, err, new(command.UsageError))
		require.ErrorContains(t, err, "different things to do")
	}
}
