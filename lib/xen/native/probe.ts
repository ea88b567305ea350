import { VifdError } from '../../errors.js';
import { librariesFrom, libraryProblem, type Problem, tryLibraries } from './libraries.js';

/** What stands between this process and `openXen`, as far as it is on disk. */
export type LibrariesFound =
  | {
      /** Undefined: where the system has them. */
      readonly directory: string | undefined;
      readonly grantCopy: boolean;
      /** xensim: there are no device nodes then. */
      readonly simulated: boolean;
    }
  | (Problem & { readonly missing: 'native addon' | 'Xen libraries' });

/** Looks for the addon and, by it, for the libraries. @param option a directory; default as in `openXen`. */
export function probeLibraries(option: string | undefined): LibrariesFound {
  const directory = librariesFrom(option);
  try {
    const libraries = tryLibraries(directory);
    if ('library' in libraries) return { missing: 'Xen libraries', ...libraryProblem(libraries, directory) };
    return { directory, grantCopy: libraries.grantCopy, simulated: libraries.openShares !== undefined };
  } catch (error) {
    if (!(error instanceof VifdError && error.code === 'ERR_ADDON_MISSING')) throw error;
    const [found = error.message, ...remedy] = error.message.replace(/\.$/, '').split(': run ');
    return { missing: 'native addon', found, remedy: `run ${remedy.join(': run ')}` };
  }
}
