package measure

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAgreementCountsByTheClassAsked(t *testing.T) {
	asked := []int{0, 0, 0, 0, 1, 1, 3, 3}
	judged := []int{0, 0, 0, 3, 1, 7, 3, 3}
	a, err := Agreement(judged, asked)
	require.NoError(t, err)
	require.Equal(t, 0.75, a.Overall)
	require.Equal(t, []int{4, 2, 0, 2}, a.Asked)
	require.Equal(t, []float64{0.75, 0.5}, a.PerClass[:2])
	require.True(t, math.IsNaN(a.PerClass[2]), "nobody asked for class 2")
	require.Equal(t, 1.0, a.PerClass[3])
	require.Equal(t, 1, a.Worst)
	a, err = Agreement([]int{0, 0, 0}, []int{0, 1, 2})
	require.NoError(t, err)
	require.Equal(t, 1, a.Worst, "the first of equals")

	_, err = Agreement(nil, nil)
	require.Error(t, err)
	_, err = Agreement([]int{1}, []int{1, 2})
	require.ErrorContains(t, err, "1 predictions for 2 samples")
	_, err = Agreement([]int{1, -1}, []int{1, 2})
	require.ErrorContains(t, err, "sample 1")
	_, err = Agreement([]int{1}, []int{math.MaxInt})
	require.Error(t, err, "no allocation by a claimed class")
}
