"""The ids that every vocabulary shares."""

SPECIAL = ('<pad>', '<unk>', '<bos>', '<eos>')
PAD, UNKNOWN, BEGIN, END = range(len(SPECIAL))
FIRST = len(SPECIAL)  # the first id of a real token
