import { VifdError } from '../../errors.js';
import { librariesFrom, libraryProblem, type Problem, tryLibraries } from './libraries.js';

/** Whether the addon and the Xen libraries, which `openXen` needs, are on disk and can be loaded. */
export type LibrariesFound =
  | {
      /** Undefined for the system's own libraries. */
      readonly directory: string | undefined;
      readonly grantCopy: boolean;
      /** Whether these are the libraries of xensim, which needs no device nodes. */
      readonly simulated: boolean;
    }
  | (Problem & { readonly missing: 'native addon' | 'Xen libraries' });

/** Loads the addon and, through it, the libraries. @param option a directory; default as in `openXen`. */
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
