"""Old names of `kit.audio` and `kit.checkpoints`."""

from kit.audio import speech_like as speech_like
from kit.audio import write_speech as write_speech
from kit.checkpoints import TINY as TINY
from kit.checkpoints import save_model as save_model
from kit.checkpoints import save_tiny as save_tiny
