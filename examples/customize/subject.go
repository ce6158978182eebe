package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ebb-go/ebb/train/customize"
	"github.com/ebb-go/ebb/train/data"
)

// A subject is a set of images and what the targets ask of it.
type subject struct {
	things  string   // what the images show, in the plural
	classes []string // names

	held     *data.Images // real images that may be edited, which no network has seen
	train    *data.Images // what the flow was trained on; nil where it does not ship
	pictures *data.Images // of the concept

	edit    edit
	concept concept
	bold    bold
	audit   audit
	scale   int // pixels of a picture for one of an image

	mine  bool // held and pictures are the user's own
	asked int  // class that the user's images are to become; negative for the partner of each
}

// edit is what -target latent does: images of one class into another, the pairs in turn.
type edit struct {
	pairs      [][2]int
	each, runs int
	inside     int     // evaluations of the network in an iteration
	margin     float64 // of the logits asked for
	staying    float64 // weight of the change
	rate       float64
}

// concept is what -target condition learns: images of a class with a trait that the label does not tell.
type concept struct {
	class       int
	name, trait string
	has         func(x []float64) bool // of one image; nil where pictures are of the user's own
	shown       int                    // pictures that the optimizer sees
	batch, runs int
	inside      int
	rate        float64
	apart       float64 // of [customize.Match]
	reach       float64 // bound of the way from the class vector, as a part of that to the other classes; 0: none. Farther out a network may draw grains
	test        int     // samples a figure is taken from
}

// fewest is how many pictures show a concept.
const fewest = 4

// bold is what -target weights moves: the ink of every class, to that of its boldest quarter.
type bold struct {
	ink         customize.Ink
	batch, runs int
	inside      int
	rate        float64
	pull, keep  float64 // weights of the ink's term and of the critic's
	last        int     // iterations of the gradient of the last step alone, which takes about as long in all
	test        int
}

// audit is what -target audit does to latents: moves each coordinate by up to radius, so that the class is lost.
type audit struct {
	samples, runs int
	inside        int
	radius, rate  float64
}

// subjects are the folders that -data may name by one word.
var subjects = map[string]string{"fashion": "testdata/fashion", "digits": "testdata/digits"}

// folder is what -data names.
func folder(data string) string {
	if known, ok := subjects[data]; ok {
		return known
	}
	return data
}

// openSubject finds out what a folder holds.
func openSubject(dir string) (*subject, error) {
	if _, err := os.Stat(filepath.Join(dir, digitsFile)); err == nil {
		return openDigits(dir)
	}
	if _, err := os.Stat(filepath.Join(dir, referencesFile)); err == nil {
		return openFashion(dir)
	}
	return nil, misuse("-data %s holds neither %s nor %s: fashion and digits name those that ship, from the top folder of the module", dir, digitsFile, referencesFile)
}

// class finds a class by its name or number.
func (s *subject) class(name string) (int, error) {
	if i := slices.IndexFunc(s.classes, func(c string) bool { return strings.EqualFold(c, name) }); i >= 0 {
		return i, nil
	}
	var i int
	if n, err := fmt.Sscan(name, &i); n == 1 && err == nil && i >= 0 && i < len(s.classes) {
		return i, nil
	}
	return 0, fmt.Errorf("%q is no class of the %s; they are %s", name, s.things, strings.Join(s.classes, ", "))
}

// partner is the class that one is edited into by default.
func (s *subject) partner(class int) int {
	for _, p := range s.edit.pairs {
		if p[0] == class {
			return p[1]
		}
	}
	return (class + 1) % len(s.classes)
}

// own takes the user's pictures in the place of those that ship: to be edited, and as the concept. Subfolders that are
// named after classes say what the pictures show.
func (s *subject) own(dir string) (data.Fit, error) {
	m, fit, err := data.PNGFolder(dir, data.FitOptions{Height: s.held.Height, Width: s.held.Width, Channels: 1})
	if err != nil {
		return fit, err
	}
	classes := make([]int, len(fit.Classes))
	for i, name := range fit.Classes {
		if classes[i], err = s.class(name); err != nil {
			return fit, misuse("-images %s: subfolder %w; without subfolders the classifier that losses use says what pictures show", dir, err)
		}
	}
	for i, l := range m.Labels {
		m.Labels[i] = classes[l]
	}
	s.held, s.pictures, s.mine = m, m, true
	s.concept.has, s.concept.name = nil, "the pictures of "+filepath.Base(dir)
	return fit, nil
}
