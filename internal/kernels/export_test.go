package kernels

// Paths lists what this CPU can run, the least first.
func Paths() []string { return []string{"go", "avx2", "avx512"}[:best()+1] }

// Force runs f on the named path.
func Force(name string, f func()) {
	defer func(p path) { active = p }(active)
	for p := range best() + 1 {
		if active = p; Path() == name {
			f()
			return
		}
	}
	panic("no path " + name)
}
