package train_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/train"
)

// In a child process with this variable set, the test binary trains into the folder that it names.
const childFolder = "EBB_TRAIN_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childFolder); dir != "" {
		if err := child(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child trains with a checkpoint every other step, from the last checkpoint if there is one, and leaves the end state.
func child(dir string) error {
	path := filepath.Join(dir, "checkpoint")
	tr, err := newTrainer(func(c *train.Config) { c.Steps, c.Checkpoint, c.Every = 300, path, 2 })
	if err != nil {
		return err
	}
	defer tr.Close()
	if _, err := os.Stat(path); err == nil {
		if err := tr.Resume(path); err != nil {
			return err
		}
	}
	if err := tr.Run(context.Background(), 300); err != nil {
		return err
	}
	return tr.Save(filepath.Join(dir, "end"))
}

// A run that is killed at random moments, by a signal that it cannot catch, and started again each time with another
// number of processors, ends with the bits of a run that nobody touched.
func TestKilledRunsEndAlike(t *testing.T) {
	whole := t.TempDir()
	run := func(dir string, processors int) *exec.Cmd {
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), childFolder+"="+dir, "GOMAXPROCS="+strconv.Itoa(processors))
		c.Stderr = os.Stderr
		return c
	}
	require.NoError(t, run(whole, 2).Run())
	want, err := os.ReadFile(filepath.Join(whole, "end"))
	require.NoError(t, err)

	const kills = 6
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1)) // the claim is for all moments
	torn := t.TempDir()
	killed := 0
	for i := 0; ; i++ {
		require.Less(t, i, 50, "the run makes no progress")
		c := run(torn, 1+i%4)
		require.NoError(t, c.Start())
		if killed < kills {
			// After a new checkpoint at the earliest, so that each life makes progress, and somewhere in the steps behind it.
			before := written(torn)
			for began := time.Now(); written(torn).Equal(before) && time.Since(began) < 20*time.Second; {
				time.Sleep(100 * time.Microsecond)
			}
			time.Sleep(time.Duration(3 * random.Float64() * float64(time.Millisecond)))
			require.NoError(t, c.Process.Kill())
		}
		err := c.Wait()
		if err == nil {
			break
		}
		var exit *exec.ExitError
		require.True(t, errors.As(err, &exit))
		require.False(t, exit.Exited(), "the child failed by itself")
		killed++
	}
	require.GreaterOrEqual(t, killed, 2, "the run was over before it could be killed")
	got, err := os.ReadFile(filepath.Join(torn, "end"))
	require.NoError(t, err)
	require.True(t, string(want) == string(got), "after %d kills", killed)
	left, err := os.ReadDir(torn)
	require.NoError(t, err)
	require.Len(t, left, 2, "checkpoint and end: what the killed left behind is gone")
	t.Logf("%d kills", killed)
}

// written is when the checkpoint in a folder was last replaced.
func written(dir string) time.Time {
	f, err := os.Stat(filepath.Join(dir, "checkpoint"))
	if err != nil {
		return time.Time{}
	}
	return f.ModTime()
}
