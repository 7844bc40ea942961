package probe

import (
	"fmt"
	"strings"
	"testing"

	"vivarium/pkg/event"

	"golang.org/x/sys/unix"
)

func opened(path string, flags int) string {
	return fmt.Sprintf("path_open path=%s flags=%d", path, flags)
}

// deep is the path of a file x in as many directories of 200 letters as give it
// that size, as descend of common.h makes them in d.
func deep(d string, size int) string {
	path := d
	for c, left := 'a', size-len(d); left > 1; c++ {
		n := left - 1
		if left > 202 {
			n = 200
		}
		path += "/" + strings.Repeat(string(c), n)
		left -= n + 1
	}
	return path + "/x"
}

// TestOpens: each way to open a file, with the path of the file that was
// opened.
func TestOpens(t *testing.T) {
	eachBackend(t, func(t *testing.T, hooks Hooks) {
		d := tempDir(t)
		s := record(t, Options{Hooks: hooks, Events: events(event.PathOpen)}, program(t, "opens"), d)

		cut := opened(deep(d, 4200), unix.O_RDONLY|unix.O_CREAT)
		if i := strings.Index(cut, "/bbb"); i > 0 {
			cut = "path_open path=" + cut[i:] + " truncated"
		}
		rd := unix.O_RDONLY
		sub := " root=" + d + "/sub"
		compareRows(t, s, []row{
			{"open", []string{opened(d+"/f", unix.O_RDWR|unix.O_APPEND)}},
			{"creat", []string{opened(d+"/created", unix.O_CREAT|unix.O_WRONLY|unix.O_TRUNC)}},
			{"openat", []string{opened(d+"/f", rd)}},
			{"dirfd", []string{opened(d+"/sub", unix.O_PATH|unix.O_DIRECTORY), opened(d+"/sub/g", rd)}},
			{"openat2", []string{opened(d+"/sub/g", rd|unix.O_CLOEXEC)}},
			{"relative", []string{opened(d+"/sub/g", rd)}},
			{"symlink", []string{opened(d+"/f", rd)}},
			{"symlink itself", []string{opened(d+"/link", unix.O_PATH|unix.O_NOFOLLOW)}},
			{"root", []string{opened("/", rd)}},
			{"proc", []string{opened("/proc/${pid}/status", rd)}},
			{"odd name", []string{opened(`"`+d+`/caf\xe9\n"`, rd|unix.O_CREAT)}},
			{"by its descriptor", []string{opened(d+"/f", rd), opened(d+"/f", rd)}},
			{"memfd", []string{opened("/memfd:secret", unix.O_RDWR)}},
			{"pipe", []string{opened(`"pipe:[${pipe}]"`, rd)}},
			{"namespace", []string{opened(`"net:[${netns}]"`, rd)}},
			{"deleted", []string{opened(d+"/gone", rd|unix.O_CREAT), opened(d+"/gone", rd) + " deleted"}},
			{"unnamed", []string{opened(d+"/sub/#${tmpfile}", unix.O_TMPFILE|unix.O_WRONLY) + " deleted"}},
			{"300 bytes", []string{opened(deep(d, 300), rd|unix.O_CREAT)}},
			{"4000 bytes", []string{opened(deep(d, 4000), rd|unix.O_CREAT)}},
			{"4200 bytes", []string{cut}},
			{"another mount", []string{opened(d+"/mnt/x", rd|unix.O_CREAT)}},
			{"bind mount", []string{opened(d+"/bound/g", rd)}},
			{"mount that is gone", []string{opened("(unreachable)/x", rd)}},
			{"chroot", []string{opened("/g", rd) + sub}},
			{"what roots need", []string{
				opened(d+"/sub", unix.O_PATH|unix.O_DIRECTORY), opened("/", unix.O_PATH|unix.O_DIRECTORY), touched(d + "/sub/in/x"),
			}},
			{"chroot in a chroot", []string{opened("/x", rd) + sub + "/in"}},
			{"children in a chroot", []string{opened("/g", rd) + sub, opened("/in/x", rd) + sub}},
			{"out of a chroot again", []string{opened("/g", rd) + sub, opened(d+"/f", rd)}},
			{"a root that is renamed", []string{opened("/x", rd) + sub + "/in", opened("/x", rd) + sub + "/out"}},
			{"the root of another mount namespace", []string{opened(d+"/f", rd)}},
			{"a chroot in another mount namespace", []string{opened("/g", rd) + sub}},
			{"pivot_root", []string{opened("/x", rd|unix.O_CREAT) + " root=(unreachable)/"}},
		})
	})
}

// TestFailedOpens: an open that failed is seen only when it is asked for, with
// the path that the program meant.
func TestFailedOpens(t *testing.T) {
	eachBackend(t, func(t *testing.T, hooks Hooks) {
		d := tempDir(t)
		failed := func(path string, flags int, errno string) []string {
			return []string{opened(path, flags) + " error=" + errno}
		}
		sub := opened(d+"/sub", unix.O_PATH|unix.O_DIRECTORY)
		rd := unix.O_RDONLY
		table := []row{
			{"ENOENT", failed(d+"/none", rd, "ENOENT")},
			{"ENOENT, relative", failed(d+"/sub/none", rd, "ENOENT")},
			{"ENOENT, dirfd", append([]string{sub}, failed(d+"/sub/none", rd, "ENOENT")...)},
			{"ENOENT, relative to the root", failed("/none", rd, "ENOENT")},
			{"ENOENT, no name", failed("/", rd, "ENOENT")},
			{"EISDIR", failed(d+"/sub", unix.O_CREAT|unix.O_WRONLY|unix.O_TRUNC, "EISDIR")},
			{"ENOTDIR", failed(d+"/f/x", rd, "ENOTDIR")},
			{"ELOOP", failed(d+"/link", rd|unix.O_NOFOLLOW, "ELOOP")},
			{"EEXIST", failed(d+"/f", rd|unix.O_CREAT|unix.O_EXCL, "EEXIST")},
			{"EBADF", failed("f", rd, "EBADF")},
			{"EFAULT", []string{fmt.Sprintf("path_open flags=%d error=EFAULT truncated", rd)}},
			{"ENAMETOOLONG", []string{opened("/"+strings.Repeat("n", 4094), rd) + " error=ENAMETOOLONG truncated"}},
			{"EXDEV", failed(d+"/sub/../f", rd, "EXDEV")},
			{"a success among them", []string{opened(d+"/f", rd)}},
		}
		for _, asked := range []bool{true, false} {
			t.Run(fmt.Sprintf("asked=%v", asked), func(t *testing.T) {
				d2 := d
				if !asked {
					d2 = tempDir(t)
				}
				s := record(t, Options{Hooks: hooks, Events: events(event.PathOpen), FailedOpens: asked}, program(t, "opens"), d2, "failed")
				want := table
				if !asked {
					want = nil
					for _, r := range table {
						w := row{name: r.name, want: []string{}}
						for _, text := range r.want {
							if !strings.Contains(text, " error=") {
								w.want = append(w.want, strings.ReplaceAll(text, d, d2))
							}
						}
						want = append(want, w)
					}
				}
				compareRows(t, s, want)
			})
		}
	})
}
