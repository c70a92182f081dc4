package external

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Executable is the program that a command names in a directory of plugins, without links. Whoever may write to the file could
// have anything run, so both have to belong to the system or to this server alone. Errors are safe to show.
func Executable(directory, command string) (path string, err error) {
	if directory == "" {
		return "", errors.New("no plugin_directory is configured: set it in the server's configuration")
	}
	real, err := filepath.EvalSymlinks(directory)
	if err != nil || !filepath.IsAbs(directory) || real != filepath.Clean(directory) {
		return "", fmt.Errorf("plugin_directory %q must be the absolute path of a directory that is there, without symbolic links", directory)
	}
	if command == "" || filepath.IsAbs(command) || !filepath.IsLocal(command) {
		return "", fmt.Errorf("command %q must be the name of a program in plugin_directory", command)
	}
	path, err = filepath.EvalSymlinks(filepath.Join(real, command))
	if err != nil {
		return "", fmt.Errorf("there is no program %q in plugin_directory", command)
	}
	if !strings.HasPrefix(path, real+string(filepath.Separator)) {
		return "", fmt.Errorf("command %q leads out of plugin_directory", command)
	}
	for _, name := range []string{path, filepath.Dir(path)} {
		info, err := os.Stat(name)
		switch {
		case err != nil:
			return "", fmt.Errorf("program %q cannot be looked at", command)
		case name == path && (!info.Mode().IsRegular() || info.Mode()&0o111 == 0):
			return "", fmt.Errorf("command %q is no executable file: chmod 755", command)
		case info.Mode()&0o022 != 0 || !ours(info):
			return "", fmt.Errorf("%q may be changed by others: it must belong to root or to this server's user, and nobody else may write to it", name)
		}
	}
	return path, nil
}
