# Made from images.toml by `mfo image render`: do not edit.
# train: Axolotl with FSDP2 or DeepSpeed, and flash-attn for sm_90.
#
#   mfo image build train                       with checks before, and evidence after
#   podman build -f containers/train.Dockerfile containers/
#
# Stages: deps (wheels and pure Python) -> kernels (nvcc, an hour) -> assembled -> test -> final.
# The final stage needs the test's report, so an image that fails its test is never made.

ARG BASE=docker.io/nvidia/cuda:13.0.1-devel-ubuntu24.04@sha256:7d2f6a8c2071d911524f95061a0db363e24d27aa51ec831fcccf9e76eb72bc92
FROM ${BASE} AS deps
ARG PYTHON=python3.12
ARG APT_SNAPSHOT=20261101T000000Z
# No bytecode anywhere (it holds times): two builds are the same to the bit.
# The index is pip's own setting; "--no-index" builds from the wheels/ folder alone.
ARG PIP_ARGS=""
ENV PYTHONDONTWRITEBYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore PIP_FIND_LINKS=/wheels
# A base that brings this Python needs nothing from Ubuntu's archive. The snapshot decides the
# versions; NVIDIA's own archive has no snapshots, and nothing is installed from it.
# hadolint ignore=DL3008
RUN set -eu; command -v "${PYTHON}" || { \
      rm -f /etc/apt/sources.list.d/cuda*; \
      apt-get update --snapshot "${APT_SNAPSHOT}"; \
      apt-get install -y --no-install-recommends --snapshot "${APT_SNAPSHOT}" \
        python3.12 python3.12-dev python3.12-venv gcc g++; \
      rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/*; }
# venv's own pip comes with bytecode, whatever the environment says.
RUN set -eu; "${PYTHON}" -m venv /opt/venv; \
    find /opt/venv -name __pycache__ -type d -prune -exec rm -rf {} +; \
    rm -rf /tmp/* /root/.cache
ENV PATH=/opt/venv/bin:$PATH VIRTUAL_ENV=/opt/venv
COPY locks/train/ /opt/mfo/lock/
# Every file is held against its sha256 in the lock; nothing but wheels, and no dependency is
# looked for beside the lock.
RUN --mount=type=bind,source=wheels,target=/wheels \
    --mount=type=cache,target=/root/.cache/pip \
    set -eu; \
    pip install ${PIP_ARGS} --no-compile --no-deps --require-hashes --only-binary :all: \
      -r "/opt/mfo/lock/$(uname -m).txt"; \
    rm -rf /tmp/*
# Pure Python without a wheel: built with the lock's own setuptools, not with one fetched now.
RUN --mount=type=bind,source=wheels,target=/wheels \
    --mount=type=cache,target=/root/.cache/pip \
    set -eu; \
    DS_BUILD_OPS=0 pip install ${PIP_ARGS} --no-compile --no-deps --require-hashes --no-build-isolation \
      -r "/opt/mfo/lock/$(uname -m).source.txt"; \
    rm -rf /tmp/*

FROM deps AS kernels
ARG PIP_ARGS=""
ENV FLASH_ATTENTION_FORCE_BUILD=TRUE \
    FLASH_ATTN_CUDA_ARCHS=90 \
    MAX_JOBS=8
RUN --mount=type=bind,source=wheels,target=/wheels \
    --mount=type=cache,target=/root/.cache/pip \
    set -eu; mkdir -p /opt/kernels; \
    pip wheel ${PIP_ARGS} --no-deps --require-hashes --no-build-isolation -w /opt/kernels \
      -r "/opt/mfo/lock/$(uname -m).kernels.txt"; \
    rm -rf /tmp/*

FROM deps AS assembled
# From wheels/: what no package index carries and a person brought. Nothing of it is fetched or built.
RUN --mount=type=bind,from=kernels,source=/opt/kernels,target=/opt/kernels \
    --mount=type=bind,source=wheels,target=/wheels \
    set -eu; \
    find /opt/kernels -name '*.whl' -exec pip install --no-index --no-deps --no-compile {} +; \
    find /wheels \( -name 'cut_cross_entropy-*.whl' -o -name 'xielu-*.whl' \) \
      -exec pip install --no-index --no-deps --no-compile {} +; \
    find /wheels \( -name 'cut_cross_entropy-*.whl' -o -name 'xielu-*.whl' \) -exec sha256sum {} + > /opt/mfo/brought.txt; \
    sort -o /opt/mfo/brought.txt /opt/mfo/brought.txt; \
    rm -rf /tmp/* /root/.cache; \
    echo 'mfo:x:10001:10001:mfo:/home/mfo:/bin/sh' >> /etc/passwd; \
    mkdir -p /home/mfo; chmod 1777 /home/mfo
COPY selftest.py seams.py seams.toml images.toml /opt/mfo/
ENV HOME=/home/mfo AXOLOTL_DO_NOT_TRACK=1

FROM assembled AS test
RUN python /opt/mfo/selftest.py --image train --in-build --json /opt/mfo/selftest.json

FROM assembled AS final
COPY --from=test /opt/mfo/selftest.json /opt/mfo/selftest.json
ARG REVISION=unknown
ARG CREATED=unknown
ARG BASE_NAME=docker.io/nvidia/cuda:13.0.1-devel-ubuntu24.04
ARG BASE_DIGEST=sha256:7d2f6a8c2071d911524f95061a0db363e24d27aa51ec831fcccf9e76eb72bc92
ARG LOCK_SHA256=unknown
LABEL org.opencontainers.image.title="mfo-train" \
      org.opencontainers.image.description="Axolotl with FSDP2 or DeepSpeed, and flash-attn for sm_90" \
      org.opencontainers.image.url="https://arxiv.org/abs/2605.16215" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="${BASE_NAME}" \
      org.opencontainers.image.base.digest="${BASE_DIGEST}" \
      mfo.lock.sha256="${LOCK_SHA256}" \
      mfo.cuda="13.0" \
      mfo.driver="580"
# A number, because clusters map it to whoever runs the job.
USER 10001:10001
WORKDIR /home/mfo
CMD ["python", "/opt/mfo/selftest.py", "--image", "train"]
