# gpuseg and its locked dependencies, with compiled kernels; see docs/guide/container.md.
#
# The base has no digest here: each build names it by its digest, so that the same sources give the
# same image, and a tag that was moved changes nothing without a word. A build without one fails.
ARG PYTHON_IMAGE=python:3.12-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ARG PYTHON_IMAGE
RUN case "${PYTHON_IMAGE}" in *@sha256:*) ;; *) \
    echo "PYTHON_IMAGE needs a digest: docs/guide/container.md" >&2; exit 2 ;; esac
# Time stamps of the files; by default that of an arbitrary day.
ARG SOURCE_DATE_EPOCH=1735689600
# requirements.txt, or requirements-cuda13.txt for GPUs.
ARG REQUIREMENTS=requirements.txt
WORKDIR /src
COPY container container
COPY pyproject.toml README.md LICENSE ./
COPY gpuseg gpuseg
COPY kernels kernels
RUN sh container/install.sh /opt/gpuseg "${REQUIREMENTS}"

FROM ${PYTHON_IMAGE}
ARG VERSION=0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="gpuseg" \
      org.opencontainers.image.description="Customer segmentation, in one process or on a cluster" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
RUN groupadd --gid 10001 gpuseg \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /scratch \
       --shell /usr/sbin/nologin gpuseg \
    && install --directory --owner=10001 --group=10001 --mode=0700 /scratch
COPY --from=build /opt/gpuseg/venv /opt/gpuseg/venv
# Kernels for other processors than that of the build are compiled, and kept, at run time.
COPY --from=build --chown=10001:10001 /opt/gpuseg/kernels /opt/gpuseg/kernels
ENV PATH=/opt/gpuseg/venv/bin:$PATH \
    NUMBA_CACHE_DIR=/opt/gpuseg/kernels \
    PYTHONDONTWRITEBYTECODE=1 \
    TMPDIR=/scratch
WORKDIR /scratch
USER 10001:10001
ENTRYPOINT ["gpuseg"]
CMD ["--help"]
