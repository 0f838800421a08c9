# QECPIPE_VARIANTS: instruction sets to compile for, from the least to the most demanding, and for each
# QECPIPE_<name>_FLAGS. core/cpu.h has the same names and asks the processor for the same features.
include(CheckCXXCompilerFlag)

set(QECPIPE_VARIANTS baseline)
set(QECPIPE_baseline_FLAGS "")
if (CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  set(QECPIPE_baseline_FLAGS -march=x86-64-v2)
  set(QECPIPE_avx2_FLAGS -march=x86-64-v3)
  set(QECPIPE_avx512_FLAGS -march=x86-64-v4 -mavx512vnni)
  set(QECPIPE_amx_FLAGS ${QECPIPE_avx512_FLAGS} -mavx512vbmi -mavx512bf16 -mamx-tile -mamx-int8 -mamx-bf16)
  foreach (variant avx2 avx512 amx)
    string(JOIN " " flags ${QECPIPE_${variant}_FLAGS})
    check_cxx_compiler_flag("${flags}" QECPIPE_COMPILES_${variant})
    if (QECPIPE_COMPILES_${variant})
      list(APPEND QECPIPE_VARIANTS ${variant})
    endif()
  endforeach()
endif()
