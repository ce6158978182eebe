// Package ode compiles diffusion samplers to plans, and runs, transposes and differentiates them.
package ode
