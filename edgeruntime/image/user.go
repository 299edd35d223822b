package image

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// maxUsers bounds the file of users that is read.
const maxUsers = 1 << 20

// Credential is the numbers of the user and the group that the image asks for: 0
// for what it does not say. Names are those of the files passwd and group in the
// image. A name that they do not have is an Invalid fault.
func (i *Image) Credential() (uid, gid uint32, err error) {
	user, group, _ := strings.Cut(i.Config.Config.User, ":")
	if user == "" && group == "" {
		return 0, 0, nil
	}
	root, err := os.OpenRoot(i.Root)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	if uid, err = number(user); err != nil {
		fields := find(root, "etc/passwd", user, 4)
		if fields == nil {
			return 0, 0, invalid("user", fmt.Errorf("%.80q is not in the passwd file of the image", user))
		}
		if uid, err = number(fields[2]); err == nil {
			gid, err = number(fields[3])
		}
		if err != nil {
			return 0, 0, invalid("user", err)
		}
	}
	if group == "" {
		return uid, gid, nil
	}
	if gid, err = number(group); err != nil {
		fields := find(root, "etc/group", group, 3)
		if fields == nil {
			return 0, 0, invalid("user", fmt.Errorf("%.80q is not in the group file of the image", group))
		}
		if gid, err = number(fields[2]); err != nil {
			return 0, 0, invalid("user", err)
		}
	}
	return uid, gid, nil
}

// number reads the number of a user or group; -1 is what the kernel calls none.
func number(s string) (uint32, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(s, 10, 31)
	return uint32(n), err
}

// find is the fields of the line of a name in a file of users, or nil.
func find(root *os.Root, file, name string, fields int) []string {
	info, err := root.Stat(file)
	if err != nil || !info.Mode().IsRegular() {
		return nil
	}
	f, err := root.Open(file)
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }() // was read only
	lines := bufio.NewScanner(io.LimitReader(f, maxUsers))
	var line []string
	for line == nil && lines.Scan() {
		if got := strings.Split(lines.Text(), ":"); len(got) >= fields && got[0] == name {
			line = got
		}
	}
	if lines.Err() != nil {
		return nil // a line that is no user's
	}
	return line
}
