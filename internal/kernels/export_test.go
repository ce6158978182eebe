package kernels

// Paths lists what this CPU can run, the least first.
func Paths() (names []string) {
	for _, p := range paths() {
		names = append(names, pathNames[p])
	}
	return names
}

func paths() []path {
	if best() == pathNEON {
		return []path{pathGo, pathNEON}
	}
	return []path{pathGo, pathAVX2, pathAVX512}[:best()+1]
}

// Force runs f on the named path.
func Force(name string, f func()) {
	defer func(p path) { active = p }(active)
	for _, p := range paths() {
		if active = p; Path() == name {
			f()
			return
		}
	}
	panic("no path " + name)
}
