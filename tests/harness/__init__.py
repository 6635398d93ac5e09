# SPDX-License-Identifier: Apache-2.0
"""Helpers of the whole-program tests and of the demo.

process   start programs that die with us, wait for what must come
writelog  read the log of QEMU's blklogwrites driver, the independent recorder
blocks    sets of blocks, compare images, compare with what was reported
truth     what really changed, against what refpoint reports
qemu      the Linux guest under QEMU, its console and its monitor
client    an NBD client with a model of the disk, which outlives its server
refpoint  refpointd from the build tree on a private root, and the CLI
"""
