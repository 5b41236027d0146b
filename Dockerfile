# The enclave's image: the binary, the SDK's libraries, the C runtime, the authorities that KMS's certificates chain to. Nothing else: no
# shell, no package manager, no kmstool.
#
#   docker build --build-arg SDK_IMAGE=<an image with the SDK's .so files in /usr/lib64> -t denclave .
#
# SDK_IMAGE is yours: AWS publishes no image with the shared libraries. Build it from aws-nitro-enclaves-sdk-c 0.4 with
# BUILD_SHARED_LIBS=ON for aws-c-common and the SDK; docs/image.md says what must be in it.

ARG DENO_IMAGE=denoland/deno:debian-2.9.6
ARG RUNTIME_IMAGE=public.ecr.aws/amazonlinux/amazonlinux:2023
ARG SDK_IMAGE
# Times of all files, seconds; pin the images above by digest, and the layers are the same each time:
#   docker build --build-arg SOURCE_DATE_EPOCH=0 --build-arg RUNTIME_IMAGE=…@sha256:… --output type=docker,rewrite-timestamp=true …
ARG SOURCE_DATE_EPOCH=0

# The C runtime and the certificates, from the distribution that the SDK is built for.
FROM ${RUNTIME_IMAGE} AS runtime
ARG SOURCE_DATE_EPOCH
RUN mkdir -p /rootfs/lib64 \
 && for file in ld-linux-x86-64.so.2 libc.so.6 libdl.so.2 libgcc_s.so.1 libm.so.6 libpthread.so.0 librt.so.1; do \
      cp -L "/lib64/$file" /rootfs/lib64/ || exit 1; \
    done \
 && cp -L /etc/pki/tls/certs/ca-bundle.crt /ca-bundle.crt \
 && touch -h -d "@$SOURCE_DATE_EPOCH" /rootfs/lib64/* /rootfs/lib64 /rootfs

# The SDK's libraries. libnsm.so is a library of its own in some builds, and inside the SDK's in others. It has no SONAME, so that the loader
# does not see that it is open already, and looks for it in its own folders.
FROM ${SDK_IMAGE} AS sdk
ARG SOURCE_DATE_EPOCH
RUN mkdir -p /sdk /loader/lib64 \
 && cp -L /usr/lib64/libaws-c-common.so /usr/lib64/libaws-nitro-enclaves-sdk-c.so /sdk/ \
 && if [ -e /usr/lib64/libnsm.so ]; then cp -L /usr/lib64/libnsm.so /sdk/ && cp -L /usr/lib64/libnsm.so /loader/lib64/; fi \
 && touch -h -d "@$SOURCE_DATE_EPOCH" /sdk/* /sdk \
 && if [ -e /sdk/libnsm.so ]; then touch -h -d "@$SOURCE_DATE_EPOCH" /loader/lib64/libnsm.so; fi \
 && touch -h -d "@$SOURCE_DATE_EPOCH" /loader/lib64

# The binary, and of all authorities only those that KMS uses.
FROM ${DENO_IMAGE} AS binary
ARG SOURCE_DATE_EPOCH
WORKDIR /src
COPY deno.json deno.lock enclave.lock main.ts ./
COPY ffi ffi
COPY lib lib
COPY scripts scripts
RUN deno task compile --output /out/denclave
COPY --from=runtime /ca-bundle.crt /ca-bundle.crt
RUN deno task ctl eif trust-store /ca-bundle.crt /out/ca-bundle.crt && touch -h -d "@$SOURCE_DATE_EPOCH" /out/*

FROM scratch
COPY --from=runtime /rootfs /
COPY --from=sdk /loader /
COPY --from=sdk /sdk /app
COPY --from=binary /out/denclave /app/denclave
COPY --from=binary /out/ca-bundle.crt /etc/pki/tls/certs/ca-bundle.crt
ENV HOME=/ SSL_CERT_FILE=/etc/pki/tls/certs/ca-bundle.crt
# The measured configuration: bake KMS_KEYS and the rest in an image of your own that starts FROM this one, or pass them in the EIF's env.
ENTRYPOINT ["/app/denclave"]
