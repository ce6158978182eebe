package data

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/ebb-go/ebb/internal/rng"
)

// Split cuts disjoint parts of the given sizes, drawn at random and stratified:
// each class takes its share of every part, to within an image or two when
// classes are few. It returns the indices of each part in ascending order, for
// [Images.Select]. The cut depends on the labels and the seed alone. Unlabelled
// images count as one class.
//
// Sizes below zero, or more images than there are, are an error; images that no
// part asks for are left out.
func (m *Images) Split(seed uint64, sizes ...int) ([][]int, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	total := 0
	for _, n := range sizes {
		if n < 0 || n > m.N-total {
			return nil, fmt.Errorf("data: parts of sizes %v cannot be cut from %d images", sizes, m.N)
		}
		total += n
	}
	order := m.stratified(seed)
	parts := make([][]int, len(sizes))
	for k, n := range sizes {
		parts[k] = slices.Clone(order[:n])
		slices.Sort(parts[k])
		order = order[n:]
	}
	return parts, nil
}

// stratified orders all images so that every contiguous run holds each class in
// its share: the r-th of a class's n shuffled members stands at (r+u)/n, u drawn
// once a class, or else all classes of one image would meet in the middle.
func (m *Images) stratified(seed uint64) []int {
	classes := make([][]int, max(m.Classes, 1))
	for i := range m.N {
		c := 0
		if m.Labels != nil {
			c = m.Labels[i]
		}
		classes[c] = append(classes[c], i)
	}
	place := make([]float64, m.N)
	order := make([]int, 0, m.N)
	for c, members := range classes {
		random := generator(seed, uint64(c))
		random.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
		u := random.Float64()
		for r, i := range members {
			place[i] = (float64(r) + u) / float64(len(members))
		}
		order = append(order, members...)
	}
	// Stable: members of different classes at one place keep the classes' order.
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(place[a], place[b]) })
	return order
}

// Parts says which images train, which judge and which are held out.
type Parts struct {
	// Held is for reporting only. Train is everything else, A and B its halves:
	// A trains the classifier that losses and guidance may use, B the judge.
	Held, Train, A, B []int
}

// Partition holds out the given number of images and halves the rest, all parts
// stratified by class as in [Images.Split]. Train is A and B together, ascending.
func (m *Images) Partition(seed uint64, held int) (Parts, error) {
	rest := m.N - held
	cut, err := m.Split(seed, held, (rest+1)/2, rest/2)
	if err != nil {
		return Parts{}, err
	}
	p := Parts{Held: cut[0], A: cut[1], B: cut[2], Train: slices.Concat(cut[1], cut[2])}
	slices.Sort(p.Train)
	return p, nil
}

// generator gives random numbers as a function of (seed, stream) alone.
func generator(seed, stream uint64) *rand.Rand {
	return rand.New(rng.NewSource(seed, stream))
}
