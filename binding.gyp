# `node-gyp rebuild` entry. The real build is CMakeLists.txt; this only hands over to cmake-js.
{
  "targets": [{
    "target_name": "vifd_cmake",
    "type": "none",
    "actions": [{
      "action_name": "cmake_js",
      "inputs": ["CMakeLists.txt", "<!@(ls native/*.cc)"],
      "outputs": ["<(module_root_dir)/build/Release/vifd.node"],
      "action": ["node", "<!(node -p \"require.resolve('cmake-js/bin/cmake-js')\")", "compile",
                 "--directory", "<(module_root_dir)", "--out", "<(module_root_dir)/build/cmake",
                 "--CDNODE_INCLUDE_DIR=<(node_root_dir)/include/node"]
    }]
  }]
}
