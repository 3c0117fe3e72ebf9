# The launcher's image. Another base with Python 3.11 or newer works as well:
#
#   docker build -t hotseat:0.1.0 --build-arg BASE_IMAGE=python:3.13-slim .
#
# Behind a proxy with a certificate authority of its own, use a base image that knows it
# (PIP_CERT and pip.conf of the base are honoured).
ARG BASE_IMAGE=python:3.12-slim
ARG COMPOSE_IMAGE=docker/compose-bin:v2.40.3

FROM ${COMPOSE_IMAGE} AS compose

FROM ${BASE_IMAGE} AS build
WORKDIR /build
RUN python3 -m venv /opt/hotseat
COPY constraints/launcher.txt constraints/
RUN /opt/hotseat/bin/python -m pip install --disable-pip-version-check --no-cache-dir -r constraints/launcher.txt
COPY pyproject.toml README.md LICENSE ./
COPY src/ src/
# All it needs is there; isolation would fetch an unpinned setuptools to build with.
RUN /opt/hotseat/bin/python -m pip install --disable-pip-version-check --no-cache-dir \
        --no-deps --no-build-isolation .

FROM ${BASE_IMAGE}
COPY --from=build /opt/hotseat /opt/hotseat
# Compose: the launcher has a container made by it where there is none yet.
COPY --from=compose /docker-compose /usr/local/bin/docker-compose
RUN mkdir -p /usr/local/lib/docker/cli-plugins \
    && ln -s /usr/local/bin/docker-compose /usr/local/lib/docker/cli-plugins/docker-compose \
    && docker-compose version \
    # Whoever runs the launcher may keep state here; a new volume takes this folder's mode over.
    && mkdir -p -m 1777 /var/lib/hotseat
ENV PATH=/opt/hotseat/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
USER 1000:1000
EXPOSE 8000
VOLUME /var/lib/hotseat
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
ENTRYPOINT ["hotseat"]
CMD ["serve"]
