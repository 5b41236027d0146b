// Takes jobs from a folder, and has the enclave process them: worker <address> <folder> <wrapped key file> [--once]. Needs the module of clients/go.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	denclave "github.com/denclave/denclave/clients/go"
)

const longestWait = 30 * time.Second

type worker struct {
	address    string
	wrappedKey string
	client     *denclave.Client
}

type result struct {
	Result string `json:"result"`
}

func credentials(context.Context) (denclave.Credentials, error) {
	found := denclave.Credentials{
		AccessKeyID: os.Getenv("AWS_ACCESS_KEY_ID"), SecretAccessKey: os.Getenv("AWS_SECRET_ACCESS_KEY"), SessionToken: os.Getenv("AWS_SESSION_TOKEN"),
	}
	if found.AccessKeyID == "" || found.SecretAccessKey == "" {
		return found, errors.New("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
	}
	return found, nil
}

func (w *worker) send(ctx context.Context, job map[string]any) (done result, err error) {
	if w.client == nil {
		if w.client, err = denclave.Connect(ctx, w.address, denclave.Options{}); err != nil {
			return done, err
		}
	}
	job["type"] = "process"
	if err = w.client.Request(ctx, job, nil, &done); denclave.Code(err) != "not_configured" {
		return done, err
	}
	if err = w.client.Configure(ctx, denclave.SessionKey{EncryptedTSK: w.wrappedKey}, denclave.CredentialFunc(credentials)); err != nil {
		if code := denclave.Code(err); code != "busy" && code != "timeout" && code != "no_reply" {
			// It is not the job's fault. %v: not a *denclave.Error any more.
			err = fmt.Errorf("cannot configure the enclave: %v", err)
		}
		return done, err
	}
	return done, w.client.Request(ctx, job, nil, &done)
}

// process gives the reply, however long that takes, or the error of a job that the enclave refuses.
func (w *worker) process(ctx context.Context, job map[string]any) (result, error) {
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, longestWait) {
		done, err := w.send(ctx, job)
		var problem *denclave.Error
		if err == nil || !errors.As(err, &problem) {
			return done, err
		}
		switch problem.Code {
		case "connect_failed", "no_reply", "timeout":
			if w.client != nil {
				_ = w.client.Close()
				w.client = nil
			}
		case "busy", "workflow_lost":
		default:
			return done, err
		}
		fmt.Fprintln(os.Stderr, problem)
		select {
		case <-ctx.Done():
			return done, ctx.Err()
		case <-time.After(wait):
		}
	}
}

func finish(job, ending string, content any) error {
	path := strings.TrimSuffix(job, ".job")
	text, err := json.Marshal(content)
	if err == nil {
		err = os.WriteFile(path+".tmp", text, 0o600)
	}
	if err == nil {
		err = os.Rename(path+".tmp", path+ending)
	}
	if err == nil {
		err = os.Remove(job)
	}
	return err
}

func (w *worker) work(ctx context.Context, path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var job map[string]any
	if err := json.Unmarshal(text, &job); err != nil {
		return err
	}
	done, err := w.process(ctx, job)
	var problem *denclave.Error
	if errors.As(err, &problem) && problem.Kind == denclave.KindService {
		return finish(path, ".failed", map[string]string{"code": problem.Code, "details": problem.Details})
	}
	if err != nil {
		return err
	}
	return finish(path, ".result", done)
}

func run(args []string) error {
	if len(args) < 3 {
		return errors.New("usage: worker <address> <folder> <wrapped key file> [--once]")
	}
	key, err := os.ReadFile(args[2])
	if err != nil {
		return err
	}
	worker := worker{address: args[0], wrappedKey: strings.TrimSpace(string(key))}
	for {
		jobs, err := filepath.Glob(filepath.Join(args[1], "*.job"))
		if err != nil {
			return err
		}
		for _, job := range jobs {
			if err := worker.work(context.Background(), job); err != nil {
				return err
			}
		}
		if len(jobs) == 0 && len(args) > 3 && args[3] == "--once" {
			return nil
		}
		if len(jobs) == 0 {
			time.Sleep(time.Second)
		}
	}
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		os.Exit(1)
	}
}
