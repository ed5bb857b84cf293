// One round with go-proxmox: upload, create, change, snapshot and remove a container; prints what it saw as JSON.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/luthermonson/go-proxmox"
)

type seen struct {
	Version   string   `json:"version"`
	Memory    int      `json:"memory"`
	Snapshots []string `json:"snapshots"`
	Left      []string `json:"left"`
	Gone      string   `json:"gone"`
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func finish(ctx context.Context, task *proxmox.Task, err error) {
	must(err)
	must(task.Wait(ctx, 20*time.Millisecond, 30*time.Second))
	if task.ExitStatus != "OK" {
		log.Fatalf("%s ended with %q", task.UPID, task.ExitStatus)
	}
}

func connect() *proxmox.Client {
	pem, err := os.ReadFile(os.Getenv("ROUND_CA"))
	must(err)
	trust := x509.NewCertPool()
	trust.AppendCertsFromPEM(pem)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trust}}
	proof := proxmox.WithCredentials(&proxmox.Credentials{Username: "root@pam", Password: os.Getenv("ROUND_PASSWORD")})
	if name := os.Getenv("ROUND_TOKEN"); name != "" {
		proof = proxmox.WithAPIToken("root@pam!"+name, os.Getenv("ROUND_SECRET"))
	}
	url := fmt.Sprintf("https://127.0.0.1:%s/api2/json", os.Getenv("ROUND_PORT"))
	return proxmox.NewClient(url, proxmox.WithHTTPClient(&http.Client{Transport: transport}), proof)
}

// names reads the list by itself: the library's own type for a container's snapshot looks for the name elsewhere.
func names(ctx context.Context, client *proxmox.Client, vmid int) []string {
	var items []struct{ Name string }
	must(client.Get(ctx, fmt.Sprintf("/nodes/pve/lxc/%d/snapshot", vmid), &items))
	found := []string{}
	for _, item := range items {
		found = append(found, item.Name)
	}
	return found
}

func main() {
	ctx := context.Background()
	client := connect()
	vmid, err := strconv.Atoi(os.Getenv("ROUND_VMID"))
	must(err)
	var found seen
	version, err := client.Version(ctx)
	must(err)
	if version == nil { // the library returns what it knew before it asked
		version, err = client.Version(ctx)
		must(err)
	}
	found.Version = version.Version
	node, err := client.Node(ctx, "pve")
	must(err)
	local, err := node.Storage(ctx, "local")
	must(err)
	task, err := local.Upload("vztmpl", os.Getenv("ROUND_FILE"))
	finish(ctx, task, err)
	task, err = node.NewContainer(ctx, vmid,
		proxmox.ContainerOption{Name: "ostemplate", Value: os.Getenv("ROUND_TEMPLATE")},
		proxmox.ContainerOption{Name: "rootfs", Value: os.Getenv("ROUND_STORAGE") + ":1"},
		proxmox.ContainerOption{Name: "unprivileged", Value: 1})
	finish(ctx, task, err)
	container, err := node.Container(ctx, vmid)
	must(err)
	_, err = container.Config(ctx, proxmox.ContainerOption{Name: "memory", Value: 1024})
	must(err)
	container, err = node.Container(ctx, vmid)
	must(err)
	found.Memory = int(container.ContainerConfig.Memory)
	task, err = container.NewSnapshot(ctx, "before")
	finish(ctx, task, err)
	found.Snapshots = names(ctx, client, vmid)
	task, err = container.DeleteSnapshot(ctx, "before")
	finish(ctx, task, err)
	found.Left = names(ctx, client, vmid)
	task, err = container.Delete(ctx)
	finish(ctx, task, err)
	if _, err = node.Container(ctx, vmid); err != nil {
		found.Gone = err.Error()
	}
	must(json.NewEncoder(os.Stdout).Encode(found))
}
