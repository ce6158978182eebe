package data

import "fmt"

// DigitsSHA256 is the sum of the file that [Digits] reads.
const DigitsSHA256 = "46abec6b12486ad9e51943373abcf22bbea1b5a51a1619b361570d8893f1464a"

// Digits reads the UCI optical digits (1797 images of 8×8, ten classes) from
// testdata/digits/digits.csv.gz at the given path. A file with another sum than
// [DigitsSHA256] is refused: the fixed split counts on the order of its lines.
// Use [CSVFile] for other files of that form.
//
// Source: Alpaydin and Kaynak, 1998, "Optical Recognition of Handwritten Digits",
// UCI Machine Learning Repository; the test set, as scikit-learn distributes it.
func Digits(path string) (*Images, error) {
	if err := VerifySHA256(path, DigitsSHA256); err != nil {
		return nil, err
	}
	return CSVFile(path, 8, 8, 16)
}

const (
	digitsHeld = 360
	digitsSeed = 1998 // the year the digits were published; any number would do
)

// DigitsParts is the one split of the digits that every figure in this project
// refers to: 360 held-out images and two halves (719 and 718) of the other 1437.
// Images that are not the digits are an error.
func DigitsParts(digits *Images) (Parts, error) {
	if digits.N != 1797 || digits.Size() != 64 || digits.Classes != 10 {
		return Parts{}, fmt.Errorf("data: %d images of %d values in %d classes are not the 1797 digits of 64 in 10: use Partition",
			digits.N, digits.Size(), digits.Classes)
	}
	return digits.Partition(digitsSeed, digitsHeld)
}

// DigitsSets reads the digits and takes them apart by [DigitsParts], as [Fashion]
// does by its files: those to train on, and those held out.
func DigitsSets(path string) (train, held *Images, err error) {
	all, err := Digits(path)
	if err != nil {
		return nil, nil, err
	}
	parts, err := DigitsParts(all)
	if err != nil {
		return nil, nil, err
	}
	if train, err = all.Select(parts.Train); err != nil {
		return nil, nil, err
	}
	held, err = all.Select(parts.Held)
	return train, held, err
}
