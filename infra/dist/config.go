package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"sigs.k8s.io/yaml"
)

// noted are the fields of func.yaml, and of its section deploy, in which func
// notes where it deployed a function to. They are kept from the project before
// unless the function's own func.yaml sets them.
var noted = []string{"created", "registry", "image", "namespace"}

// created is the time of creation of a function that was never deployed. func
// takes a folder whose func.yaml has none for no function at all.
const created = "2026-01-01T00:00:00Z"

// config is the project's func.yaml.
func (p project) config() ([]byte, error) {
	config, err := readConfig(filepath.Join(p.root, "functions", p.name, configFile))
	if err != nil {
		return nil, err
	}
	before, err := readConfig(filepath.Join(p.out, configFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if name := config["name"]; name != p.name {
		return nil, fmt.Errorf("the name is %v, not that of the folder, %s", name, p.name)
	}
	if invoke := config["invoke"]; invoke != "http" {
		return nil, fmt.Errorf("invoke is %v: it must be http, since func's receiver of CloudEvents stalls under load", invoke)
	}
	keep(config, before)
	deploy, _ := config["deploy"].(map[string]any)
	if deployed, ok := before["deploy"].(map[string]any); ok {
		if deploy == nil {
			deploy = map[string]any{}
		}
		keep(deploy, deployed)
		if len(deploy) > 0 {
			config["deploy"] = deploy
		}
	}
	if config["created"] == nil {
		config["created"] = created
	}
	return yaml.Marshal(config)
}

// keep adds to section the noted fields that only before has.
func keep(section, before map[string]any) {
	for _, field := range noted {
		if v := before[field]; v != nil && section[field] == nil {
			section[field] = v
		}
	}
}

// readConfig reads a func.yaml.
func readConfig(path string) (map[string]any, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var config map[string]any
	if err := yaml.Unmarshal(text, &config); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return config, nil
}
