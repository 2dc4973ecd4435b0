"""Cobblestone-256 by the Python package cryptography (50 or later), the independent implementation for our tests.

    oracle.py vectors            writes cobblestone256.json to standard output
    oracle.py seal KEY CONTEXT   reads plaintext, writes the sealed file
    oracle.py open KEY CONTEXT   reads the sealed file, writes plaintext

KEY and CONTEXT are hexadecimal.
"""

import hashlib
import json
import sys

from cryptography.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor


def pattern(size):
    return bytes((i * 31 + (i >> 8) * 7) & 0xFF for i in range(size))


def seal(key, context, plain):
    e = Cobblestone256Encryptor(key, context=context)
    return e.update(plain) + e.finalize()


def vectors():
    out = []
    contexts = [b"", b"c", b"tenant\x00model\xff" * 20]
    for n, size in enumerate([0, 1, 15, 16, 16383, 16384, 16385, 32767, 32768, 32769, 163840, 262143, 262144, 262145, 1048577]):
        key, context = Cobblestone256Encryptor.generate_key(), contexts[n % len(contexts)]
        sealed = seal(key, context, pattern(size))
        v = {
            "size": size,
            "key": key.hex(),
            "context": context.hex(),
            "salt": sealed[:24].hex(),
            "sha256": hashlib.sha256(sealed).hexdigest(),
        }
        if size < 100:
            v["sealed"] = sealed.hex()
        out.append(v)
    return out


if sys.argv[1] == "vectors":
    json.dump(vectors(), sys.stdout, indent=1)
    print()
else:
    key, context = bytes.fromhex(sys.argv[2]), bytes.fromhex(sys.argv[3])
    data = sys.stdin.buffer.read()
    if sys.argv[1] == "seal":
        data = seal(key, context, data)
    else:
        d = Cobblestone256Decryptor(key, context=context)
        data = d.update(data) + d.finalize()
    sys.stdout.buffer.write(data)
