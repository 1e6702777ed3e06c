# The server's image: `autotune serve` as user 10001, who needs to write only /tmp and /var/cache/autotune.
#
#   docker build -t autotune .                         for CPUs
#   docker build --build-arg CUDA=1 -t autotune:cuda . for NVIDIA GPUs: CUDA's libraries add several gigabytes
#
# docs/deploying.md goes from here to running pods.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS build
ARG CUDA=0
ARG EXTRAS=media,openvino,serve
# PyPI's torch for x86-64 brings CUDA's libraries with it.
ARG TORCH_CPU_INDEX=https://download.pytorch.org/whl/cpu
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY search_spaces search_spaces
COPY autotune autotune
RUN python -m venv /opt/autotune \
    && if [ "$CUDA" = 0 ]; then index=(--extra-index-url "$TORCH_CPU_INDEX"); fi \
    && /opt/autotune/bin/pip install --no-cache-dir --constraint constraints.txt "${index[@]}" ".[$EXTRAS]" \
    # ONNX Runtime's CUDA provider is a file of 280 MB, and pip has done its work.
    && if [ "$CUDA" = 0 ]; then rm -f /opt/autotune/lib/python*/site-packages/onnxruntime/capi/*_{cuda,tensorrt}.so; fi \
    && /opt/autotune/bin/pip uninstall --yes --quiet pip

FROM python:${PYTHON}-slim
RUN groupadd --gid 10001 autotune \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin autotune \
    # For any user, since compose runs as the models' owner where no one else may read them.
    && install -d -m 1777 /var/cache/autotune
COPY --from=build /opt/autotune /opt/autotune
ENV PATH=/opt/autotune/bin:$PATH HOME=/tmp XDG_CACHE_HOME=/var/cache PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=600s --retries=3 \
    CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
ENTRYPOINT ["autotune"]
CMD ["serve", "/etc/autotune/deploy.yaml", "--host", "0.0.0.0"]
