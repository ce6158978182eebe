package main

import (
	"cmp"
	"compress/gzip"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/ebb-go/ebb/internal/safetensors"
	"github.com/ebb-go/ebb/train/customize"
	"github.com/ebb-go/ebb/train/data"
	"github.com/ebb-go/ebb/train/measure"
)

const referencesFile = "references.safetensors"

// references are what is known of the training images, where they are not at hand themselves.
type references struct {
	goals   []float64       // mean ink of the boldest quarter of each class
	bold    measure.Moments // the judge's features of these images
	concept measure.Moments // and of those of the concept
	share   float64         // of the concept in its class
}

// conceptMost is how many real images of the concept are looked at.
const conceptMost = 1000

// reference takes from training images what the targets need to know of them.
func reference[T customize.Float](s *subject, train *data.Images, judge *customize.Critic[T]) (r references, err error) {
	features := func(indices []int) (m measure.Moments, err error) {
		var all measure.Features
		for part := range slices.Chunk(indices, 500) {
			x := make([]T, len(part)*train.Size())
			if err := data.Gather(x, train, part); err != nil {
				return m, err
			}
			f, err := judge.Features(x)
			if err != nil {
				return m, err
			}
			all.N, all.D, all.Data = all.N+f.N, f.D, append(all.Data, f.Data...)
		}
		return measure.MomentsOf(all)
	}
	var quarters []int
	for c := range s.classes {
		quarter, goal := s.boldest(train, c)
		quarters, r.goals = append(quarters, quarter...), append(r.goals, goal)
	}
	if r.bold, err = features(quarters); err != nil {
		return r, err
	}
	has := s.concept.among(train)
	r.share = float64(len(has)) / float64(len(ofClass(train, s.concept.class)))
	r.concept, err = features(has[:min(len(has), conceptMost)])
	return r, err
}

func ofClass(m *data.Images, class int) (indices []int) {
	for i, c := range m.Labels {
		if c == class {
			indices = append(indices, i)
		}
	}
	return indices
}

// among are the images of a set that have the concept.
func (c concept) among(m *data.Images) (indices []int) {
	for _, i := range ofClass(m, c.class) {
		if c.has(wide(m.Image(i))) {
			indices = append(indices, i)
		}
	}
	return indices
}

// boldest are the quarter of a class with the most ink, and the mean of it.
func (s *subject) boldest(m *data.Images, class int) (quarter []int, goal float64) {
	inks := make([]float64, m.N)
	quarter = ofClass(m, class)
	for _, i := range quarter {
		inks[i] = s.bold.ink.Of(wide(m.Image(i)), m.Size())[0]
	}
	slices.SortStableFunc(quarter, func(a, b int) int { return cmp.Compare(inks[b], inks[a]) })
	quarter = quarter[:len(quarter)/4]
	for _, i := range quarter {
		goal += inks[i] / float64(len(quarter))
	}
	return quarter, goal
}

func wide[T customize.Float](x []T) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

// The tensors of the file: the fields of references.
func (r references) write(path string) error {
	f32 := func(name string, shape []int, data []float64) safetensors.Tensor {
		return safetensors.Tensor{Name: name, Dtype: safetensors.F32, Shape: shape, Float64: data}
	}
	square := func(m measure.Moments) []int { return []int{len(m.Root) / m.D, m.D} }
	return safetensors.WriteFile(path, nil, []safetensors.Tensor{
		f32("goals", []int{len(r.goals)}, r.goals), f32("share", []int{1}, []float64{r.share}),
		f32("bold.mean", []int{r.bold.D}, r.bold.Mean), f32("bold.root", square(r.bold), r.bold.Root),
		f32("concept.mean", []int{r.concept.D}, r.concept.Mean), f32("concept.root", square(r.concept), r.concept.Root),
	})
}

func readReferences(path string) (r references, err error) {
	f, err := safetensors.Open(path)
	if err != nil {
		return r, err
	}
	defer f.Close()
	read := func(name string) []float64 {
		info, ok := f.Info(name)
		if !ok && err == nil {
			err = fmt.Errorf("%s has no tensor %q", path, name)
		}
		if err != nil {
			return nil
		}
		x := make([]float64, info.Len())
		err = safetensors.Read(f, name, x)
		return x
	}
	r.goals = read("goals")
	r.bold = measure.Moments{Mean: read("bold.mean"), Root: read("bold.root")}
	r.concept = measure.Moments{Mean: read("concept.mean"), Root: read("concept.root")}
	r.bold.D, r.concept.D = len(r.bold.Mean), len(r.concept.Mean)
	if share := read("share"); err == nil && len(share) == 1 {
		r.share = share[0]
	}
	return r, err
}

// prepare makes the files that ship of the whole of Fashion-MNIST, which lies in from: what openFashion reads. The networks
// must be in dir already.
func prepare(_ context.Context, from, dir string, out io.Writer) error {
	train, test, err := data.Fashion(from)
	if err != nil {
		return err
	}
	st := &study[float32]{subject: fashion(), quick: 1, log: io.Discard}
	defer st.Close()
	st.held = test
	if err := st.networks(dir); err != nil {
		return err
	}
	r, err := reference(st.subject, train, st.judge)
	if err != nil {
		return err
	}
	if err := r.write(filepath.Join(dir, referencesFile)); err != nil {
		return err
	}
	has := st.concept.among(train)
	if err := writeIDX(dir, bagImages, bagLabels, train, has[:st.concept.shown]); err != nil {
		return err
	}
	// Those that will be edited, and then the first of each class until there are 64.
	chosen, _, _, err := st.edits()
	if err != nil {
		return err
	}
	for i := range test.N {
		if n := 0; len(chosen) < 64 {
			for _, k := range chosen {
				if test.Labels[k] == test.Labels[i] {
					n++
				}
			}
			if !slices.Contains(chosen, i) && n < 7 {
				chosen = append(chosen, i)
			}
		}
	}
	fmt.Fprintf(out, "%d test images, %d bags with a handle of %.0f %% of the bags, ink %.3f\n", len(chosen), st.concept.shown, 100*r.share, mean(r.goals))
	return writeIDX(dir, testImages, testLabels, test, chosen)
}

// writeIDX writes some images and their labels as MNIST has them, compressed.
func writeIDX(dir, images, labels string, m *data.Images, indices []int) error {
	pixels := binary.BigEndian.AppendUint32(nil, 0x803)
	for _, n := range []int{len(indices), m.Height, m.Width} {
		pixels = binary.BigEndian.AppendUint32(pixels, uint32(n))
	}
	classes := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, 0x801), uint32(len(indices)))
	for _, i := range indices {
		for _, v := range m.Image(i) {
			pixels = append(pixels, uint8((v+1)*127.5+0.5))
		}
		classes = append(classes, uint8(m.Labels[i]))
	}
	for name, content := range map[string][]byte{images: pixels, labels: classes} {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		z, err := gzip.NewWriterLevel(f, gzip.BestCompression)
		if err == nil {
			_, err = z.Write(content)
		}
		if err == nil {
			err = z.Close()
		}
		if err := cmp.Or(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}
