# SPDX-License-Identifier: Apache-2.0
"""embed.py INPUT OUTPUT NAME: the bytes of a file as a C array."""
import sys

source, target, name = sys.argv[1:]
with open(source, 'rb') as f:
    data = f.read()
with open(target, 'w') as f:
    f.write('static const char %s[] = {\n' % name)
    for i in range(0, len(data), 12):
        f.write('\t%s,\n' % ', '.join(str(b) for b in data[i:i + 12]))
    f.write('};\n')
