"""Safe decoding: best of N with abstention, in a call, a terminal (``csrlhf.chat``) or a stage (``stage=decode``)."""

from csrlhf.generation.candidates import Candidate, Decoded, choose, flags_and_rewards
from csrlhf.generation.decoder import Decoder, decode

__all__ = ["Candidate", "Decoded", "Decoder", "choose", "decode", "flags_and_rewards"]
