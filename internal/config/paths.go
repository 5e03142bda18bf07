package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// DefaultDataDir is where a worker keeps its data unless a setting names another
// directory, and so where the command line finds a local worker's client.json:
// $XDG_DATA_HOME/credbus or ~/.local/share/credbus, on macOS
// ~/Library/Application Support/credbus, on Windows %LocalAppData%\credbus.
// It fails if the environment names no home directory.
func DefaultDataDir() (string, error) { return paths{os.Getenv}.dataDir() }

// paths derives directories from environment variables.
type paths struct{ getenv func(string) string }

func (p paths) home() string {
	if runtime.GOOS == "windows" {
		return p.getenv("USERPROFILE")
	}
	return p.getenv("HOME")
}

func (p paths) dataDir() (string, error) {
	dir := p.userDir("XDG_DATA_HOME", ".local/share", "LocalAppData")
	if dir == "" {
		return "", errors.New("there is no home directory to keep data in: set --data-dir (CREDBUS_DATA_DIR)")
	}
	return filepath.Join(dir, "credbus"), nil
}

// configFile is the file to read if none is named, "" if the environment names no
// home directory.
func (p paths) configFile() string {
	dir := p.userDir("XDG_CONFIG_HOME", ".config", "AppData")
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, "credbus", "worker.yaml")
}

// userDir is the user's directory for a purpose, by the custom of each system.
func (p paths) userDir(xdg, belowHome, windows string) string {
	home := p.home()
	switch runtime.GOOS {
	case "windows":
		return p.getenv(windows)
	case "darwin", "ios":
		belowHome = "Library/Application Support"
	default:
		// The XDG specification says to ignore relative paths.
		if dir := p.getenv(xdg); filepath.IsAbs(dir) {
			return dir
		}
	}
	if home == "" {
		return ""
	}
	return filepath.Join(home, filepath.FromSlash(belowHome))
}

// join puts name under dir, or is "" if there is no dir.
func (p paths) join(dir, name string) string {
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, name)
}

// absolute makes a path independent of the working directory. It expands a
// leading ~/, which no shell has done for paths from a file or a variable.
func (p paths) absolute(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	if rest, found := strings.CutPrefix(path, "~/"); found {
		home := p.home()
		if home == "" {
			return "", errors.New("there is no home directory: write the path in full")
		}
		return filepath.Join(home, rest), nil
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("write the path in full: %w", err)
	}
	return absolute, nil
}

// allAbsolute is absolute for each path of a list.
func (p paths) allAbsolute(list string) (string, error) {
	all := filepath.SplitList(list)
	for i := range all {
		var err error
		if all[i], err = p.absolute(all[i]); err != nil {
			return "", err
		}
	}
	return strings.Join(all, string(filepath.ListSeparator)), nil
}
