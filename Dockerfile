# Countersign in a container. What the environment below means for who may call it: README.md, "Docker".

FROM python:3.13-slim AS build
WORKDIR /source
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
COPY pyproject.toml README.md LICENSE ./
COPY proxy proxy
RUN pip wheel --no-deps --wheel-dir /wheel . \
 && python -m venv --without-pip /opt/countersign \
 && pip --python /opt/countersign/bin/python install "$(echo /wheel/*.whl)[redis]"

FROM python:3.13-slim
LABEL org.opencontainers.image.title="Countersign" \
      org.opencontainers.image.description="A local authenticating reverse proxy" \
      org.opencontainers.image.licenses="Apache-2.0"
# A user by number, so that an orchestrator can see that it is not root. Tokens are kept in its state folder:
# mount a volume there, or they last as long as the container does.
RUN groupadd --gid 10001 countersign \
 && useradd --uid 10001 --gid 10001 --home-dir /var/lib/countersign --no-create-home --shell /usr/sbin/nologin countersign \
 && install -d -o 10001 -g 10001 -m 0700 /var/lib/countersign \
 && install -d -m 0755 /etc/countersign
COPY --from=build /opt/countersign /opt/countersign
# The base image has its standard library without bytecode, which would be made anew at every start and every
# health check: keep that of the modules that all commands together load.
RUN /opt/countersign/bin/countersign --help > /dev/null \
 && /opt/countersign/bin/python -c 'import uvloop, encodings.idna'
ENV PYTHONDONTWRITEBYTECODE=1
# Inside a container, loopback would be reachable for nobody; the network that the port is published to decides.
ENV PATH=/opt/countersign/bin:$PATH \
    XDG_STATE_HOME=/var/lib \
    COUNTERSIGN_SERVER__LISTEN=0.0.0.0:8080 \
    COUNTERSIGN_SERVER__TRUST_NETWORK=true
WORKDIR /etc/countersign
USER 10001:10001
EXPOSE 8080
HEALTHCHECK --interval=15s --timeout=10s --start-period=10s --retries=3 CMD ["countersign", "health"]
ENTRYPOINT ["countersign"]
CMD ["run"]
