/**
 * The steps that made the data path faster, in their order. Each is measured beside the commit before it in the list. `npm run bench -- steps`
 * builds these commits of the repository, so it needs their history.
 */
export const BASE = 'f1a6931';
export const STEPS = [
  {
    commit: 'ac4a949',
    what: 'plain stores to the log instead of `Atomics`; responses are prepared in the log',
  },
  {
    commit: 'f27555a',
    what: 'plain batches from the guest are read in the ring; constants that V8 folds; the addon writes a status only for a failure',
  },
  {
    commit: 'b5a675f',
    what: 'no copy of a plain batch’s slots; `req_event` is armed without another read of `req_prod`',
  },
  { commit: '37ed247', what: 'plain frames to the guest in one pass' },
  { commit: '12324c3', what: 'fewer loads and steps in a turn to the guest' },
  { commit: '8c5a865', what: 'plain frames to the guest are laid out as they are read' },
  { commit: 'd051d41', what: 'the words of plain frames are read as int32' },
  { commit: '79297e8', what: 'hooks and filters see plain batches' },
  {
    commit: '989bda4',
    what: 'no boolean is tested twice in the loops of plain frames; fields of headers are folded',
  },
];
