"""The clocks that everything runs at, as published: pictures at 25 a second, sound at 16 kHz."""

FPS = 25
SAMPLE_RATE = 16000
SAMPLES_PER_FRAME = SAMPLE_RATE // FPS
