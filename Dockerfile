# The enclave's image: the binary, the SDK's libraries, the C runtime, the CA certificates that KMS's certificates chain to. Nothing else: no
# shell, no package manager, no kmstool.
#
#   docker build --build-arg SDK_IMAGE=<image> --build-arg KMS_KEYS=<key arn> --build-arg FEATURES=session_key,sealed -t denclave .
#
# SDK_IMAGE is an image of your own with the SDK's .so files in /usr/lib64: AWS publishes none. docs/image.md says how to build it.
# KMS_KEYS: the ARN of the KMS key, or several with commas between them. FEATURES: what the image serves, of session_key, wallet,
# master_key and sealed. Both are part of the image, and so of its measurements.

ARG DENO_IMAGE=denoland/deno:debian-2.9.6
ARG RUNTIME_IMAGE=public.ecr.aws/amazonlinux/amazonlinux:2023
ARG SDK_IMAGE
# Times of all files, seconds; pin the images above by digest, and the layers are the same each time:
#   docker build --build-arg SOURCE_DATE_EPOCH=0 --build-arg RUNTIME_IMAGE=…@sha256:… --output type=docker,rewrite-timestamp=true …
ARG SOURCE_DATE_EPOCH=0

# The C runtime and the CA certificates, from the distribution that the SDK is built for. The settings are checked here, before anything takes long.
FROM ${RUNTIME_IMAGE} AS runtime
ARG KMS_KEYS
RUN case "$KMS_KEYS" in ""|,*|*,,*|*,) set -- none ;; *) IFS=,; set -- $KMS_KEYS ;; esac; \
    for key; do case "$key" in \
      arn:aws*:kms:*:key/?*) ;; \
      *) echo "KMS_KEYS is not the ARN of a KMS key, so every request would be refused: give --build-arg KMS_KEYS=<key arn>" >&2; exit 1 ;; \
    esac; done
ARG FEATURES
RUN case "$FEATURES" in ""|,*|*,,*|*,) set -- none ;; *) IFS=,; set -- $FEATURES ;; esac; \
    for feature; do case "$feature" in \
      session_key|wallet|master_key|sealed) ;; \
      *) echo "FEATURES does not name what the image serves: give --build-arg FEATURES=session_key,wallet,master_key,sealed,receipts, or only those that it is for" >&2; exit 1 ;; \
    esac; done
ARG SOURCE_DATE_EPOCH
RUN case "$(uname -m)" in \
      x86_64) folder=lib64 loader=ld-linux-x86-64.so.2 ;; \
      aarch64) folder=lib loader=ld-linux-aarch64.so.1 ;; \
      *) echo "No enclave runs on $(uname -m): build for x86_64 or aarch64" >&2; exit 1 ;; \
    esac \
 && mkdir -p /rootfs/lib64 "/rootfs/$folder" \
 && cp -L "/$folder/$loader" "/rootfs/$folder/" \
 && for file in libc.so.6 libdl.so.2 libgcc_s.so.1 libm.so.6 libpthread.so.0 librt.so.1; do \
      cp -L "/lib64/$file" /rootfs/lib64/ || exit 1; \
    done \
 && cp -L /etc/pki/tls/certs/ca-bundle.crt /ca-bundle.crt \
 && touch -h -d "@$SOURCE_DATE_EPOCH" /rootfs/*/* /rootfs/* /rootfs

# The SDK's libraries. libnsm.so is a library of its own in some builds, and inside the SDK's in others. The loader cannot match the copy in /app,
# because it has no SONAME: a second copy goes to the folder that the loader searches.
FROM ${SDK_IMAGE} AS sdk
ARG SOURCE_DATE_EPOCH
RUN mkdir -p /sdk /loader/lib64 \
 && cp -L /usr/lib64/libaws-c-common.so /usr/lib64/libaws-nitro-enclaves-sdk-c.so /sdk/ \
 && if [ -e /usr/lib64/libnsm.so ]; then cp -L /usr/lib64/libnsm.so /sdk/ && cp -L /usr/lib64/libnsm.so /loader/lib64/; fi \
 && touch -h -d "@$SOURCE_DATE_EPOCH" /sdk/* /sdk \
 && if [ -e /sdk/libnsm.so ]; then touch -h -d "@$SOURCE_DATE_EPOCH" /loader/lib64/libnsm.so; fi \
 && touch -h -d "@$SOURCE_DATE_EPOCH" /loader/lib64

# The binary, and of the CA certificates only those of KMS.
FROM ${DENO_IMAGE} AS binary
ARG SOURCE_DATE_EPOCH
WORKDIR /src
COPY deno.json deno.lock enclave.lock ctl.lock main.ts ./
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
# The measured configuration. An image of your own that starts FROM this one can set more variables.
ARG KMS_KEYS
ARG FEATURES
ENV HOME=/ SSL_CERT_FILE=/etc/pki/tls/certs/ca-bundle.crt KMS_KEYS=${KMS_KEYS} FEATURES=${FEATURES}
ENTRYPOINT ["/app/denclave"]
