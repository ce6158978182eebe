// Package picture draws what the examples show: sheets of small images and
// curves, with titles and captions that a reader understands without help.
//
// A [Sheet] is a grid of images, [Curves] a plot of lines, and a [Page] puts
// several of either one below or beside the other. Each is a [Panel], and [Write]
// makes a PNG file of one. The same panel gives the same bytes.
package picture
