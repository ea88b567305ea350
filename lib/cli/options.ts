import { Option } from 'commander';

export function storeOption(): Option {
  return new Option('--store <socket>', 'xenstored socket').env('XENSTORED_PATH');
}

export function librariesOption(): Option {
  return new Option('--libraries <dir>', 'where libxengnttab and libxenevtchn are').env('VIFD_XEN_LIBRARIES');
}
