import { EMBEDDED, type Row } from '../row.js';

/** `vifd run` has no hooks: these rows run a program that embeds vifd (world/embedded.ts) and logs as `vifd run` does. */
function hook(name: string, wish: string, line: Row['line'], more: Partial<Row> = {}): Row {
  return {
    name: `a hook ${name} (embedded)`,
    kind: 'hooks',
    setting: EMBEDDED,
    line,
    inject: ({ inject }) => inject.hook(wish),
    // vifd cannot detect that a defect of a program has ended.
    mended: 'not logged',
    mend: ({ inject }) => inject.hook(undefined),
    ...more,
  };
}

const VERDICTS = /'pass'|"pass"|drop/;

export const hookRows: readonly Row[] = [
  hook('throws', 'throws', { cause: /hook.*defect/, remedy: /./ }, { short: true }),
  hook('is async', 'async', { cause: /hook.*(Promise|async)/, remedy: VERDICTS }),
  hook('returns a typo', 'typo', { cause: /hook.*pas\b/, remedy: VERDICTS }),
  hook('returns no frames', 'nothing', {
    cause: /hook returned an array that is no Uint8Array/,
    remedy: VERDICTS,
  }),
  hook(
    'hangs for 500 ms',
    'hangs',
    { names: 'no vif', cause: /hook|event loop/, remedy: /./ },
    { neighbourMs: 1500 },
  ),
];
