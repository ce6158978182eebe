// Package data reads images for training and deals them out.
//
// Every reader returns [Images]: float32 pixels in [−1, 1], images one after
// the other, each height × width × channels row-major. Grey data keep the
// polarity of the digits and of Fashion-MNIST: background −1, ink +1.
//
//	IDX, IDXFiles      images and labels in the format of MNIST
//	IDXFolder          MNIST, and the sets made after it, as they are distributed
//	Fashion            the 70 000 images of Fashion-MNIST, checked by their sums
//	CSV, CSVFile       one image a line, label last (the UCI digits)
//	PNGFolder          your own pictures, a subfolder a class
//	Digits             the 1797 digits of testdata, checked by their sum
//
// Compressed input is recognised by its content, not its name. Files are not
// trusted: a header's count is compared with the bytes that are really there,
// memory grows with what has been read, and what a gzip stream may expand to is
// bounded by the header. A bad file is a *[FormatError] that names the file, the
// byte and what was expected there.
//
// Splits and orders are functions of a seed and of nothing else. [Images.Split]
// cuts disjoint parts stratified by class; [Batches] gives the batch of a
// training step from the step's number alone, so a resumed run sees what an
// uninterrupted one would have seen.
package data
