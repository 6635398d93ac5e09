#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# usage: golden.sh PROGRAM FOLDER
exec "$1" "$2"/*.request
