// What containers/image says of an image, and how it signs one: the judge of our own policy and signatures.
//
//	policyjudge allowed POLICY REGISTRIES.D docker://NAME    prints "yes", or "no: REASON"
//	policyjudge sign KEY PASSPHRASE REGISTRIES.D docker://NAME   signs as skopeo copy --sign-by-sigstore does
package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/docker"
	"github.com/containers/image/v5/image"
	"github.com/containers/image/v5/signature"
	"github.com/containers/image/v5/types"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if arguments[0] == "allowed" {
		return allowed(arguments[1], arguments[2], arguments[3])
	}
	return sign(arguments[1], arguments[2], arguments[3], arguments[4])
}

func system(registries string) *types.SystemContext {
	return &types.SystemContext{
		RegistriesDirPath:           registries,
		DockerInsecureSkipTLSVerify: types.OptionalBoolTrue,
	}
}

func allowed(policyFile, registries, name string) error {
	policy, err := signature.NewPolicyFromFile(policyFile)
	if err != nil {
		return err
	}
	verdict, err := signature.NewPolicyContext(policy)
	if err != nil {
		return err
	}
	reference, err := docker.ParseReference(strings.TrimPrefix(name, "docker:"))
	if err != nil {
		return err
	}
	source, err := reference.NewImageSource(context.Background(), system(registries))
	if err != nil {
		return err
	}
	defer source.Close()
	if _, err := verdict.IsRunningImageAllowed(context.Background(), image.UnparsedInstance(source, nil)); err != nil {
		fmt.Println("no:", err)
		return nil
	}
	fmt.Println("yes")
	return nil
}

func sign(key, passphrase, registries, name string) error {
	policy, err := signature.NewPolicyContext(&signature.Policy{Default: []signature.PolicyRequirement{signature.NewPRInsecureAcceptAnything()}})
	if err != nil {
		return err
	}
	reference, err := docker.ParseReference(strings.TrimPrefix(name, "docker:"))
	if err != nil {
		return err
	}
	_, err = copy.Image(context.Background(), policy, reference, reference, &copy.Options{
		SignBySigstorePrivateKeyFile:     key,
		SignSigstorePrivateKeyPassphrase: []byte(passphrase),
		SourceCtx:                        system(registries),
		DestinationCtx:                   system(registries),
		PreserveDigests:                  true,
	})
	return err
}
