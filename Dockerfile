# portrait_lora for an NVIDIA GPU.  Models and likeness folders live in volumes, never in the image:
#   docker build -t portrait-lora .
#   docker run --rm --gpus all -v portrait-models:/models -v "$PWD":/work portrait-lora doctor
FROM python:3.11-slim-bookworm

# OpenCV's wheel needs these two at run time.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/portrait-lora
COPY constraints.txt pyproject.toml README.md LICENSE ./
# torch first and exactly: this wheel brings its own CUDA libraries, so the driver is all the host needs.
RUN pip install --no-cache-dir -c constraints.txt "$(grep '^torch==' constraints.txt)"
COPY configs configs
COPY portrait_lora portrait_lora
RUN pip install --no-cache-dir -c constraints.txt .

RUN useradd --create-home --uid 1000 person && mkdir -p /models /work && chown person /models /work
USER person
ENV HF_HOME=/models HF_HUB_DISABLE_TELEMETRY=1 DIFFUSERS_DISABLE_REMOTE_CODE=1
VOLUME ["/models", "/work"]
WORKDIR /work
ENTRYPOINT ["portrait-lora"]
CMD ["doctor"]
