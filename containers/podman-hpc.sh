#!/bin/sh
# Made from images.toml by `mfo image render`: do not edit.
# podman-hpc (Isambard-AI): build on a compute node, then bring the images to where all nodes see them.
# usage: sh containers/podman-hpc.sh FOLDER      with the .oci.tar files that mfo image export wrote
set -eu
folder=${1:?usage: sh containers/podman-hpc.sh FOLDER}
podman-hpc load --input "$folder/mfo-train.oci.tar"
podman-hpc migrate localhost/mfo-train
podman-hpc run --rm --gpu localhost/mfo-train python /opt/mfo/selftest.py --image train
podman-hpc load --input "$folder/mfo-eval.oci.tar"
podman-hpc migrate localhost/mfo-eval
podman-hpc run --rm --gpu localhost/mfo-eval python /opt/mfo/selftest.py --image eval
